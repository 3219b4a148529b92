"""A FastAPI application."""

import asyncio

from fastapi import FastAPI, Request
from fastapi.responses import StreamingResponse

app = FastAPI(title="Uroboros example")


@app.get("/")
async def index():
    return {"message": "Hello from FastAPI on Uroboros"}


@app.post("/echo")
async def echo(request: Request):
    return {"bytes": len(await request.body()), "type": request.headers.get("content-type")}


@app.get("/stream")
async def stream():
    async def parts():
        for number in range(10):
            yield f"part {number}\n"
            await asyncio.sleep(0.2)

    return StreamingResponse(parts(), media_type="text/plain")
