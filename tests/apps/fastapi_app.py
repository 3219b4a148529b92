"""A FastAPI application as people write them."""

import asyncio
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import BackgroundTasks, Depends, FastAPI, File, Form, HTTPException, Request, Response, UploadFile
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

DONE: list[str] = []


@asynccontextmanager
async def lifespan(_app: FastAPI):
    yield {"greeting": "Hello from FastAPI"}


app = FastAPI(lifespan=lifespan)


class Item(BaseModel):
    name: str
    price: float
    tags: list[str] = []


async def resource():
    value = {"open": True}
    try:
        yield value
    finally:
        DONE.append("closed")


@app.get("/")
async def index(request: Request):
    return {"message": request.state.greeting}


@app.get("/sync")
def sync_endpoint():
    return {"kind": "def"}


@app.post("/items")
async def create(item: Item):
    return item


@app.get("/items/{number}")
async def read(number: int, q: str | None = None):
    return {"number": number, "q": q}


@app.post("/form")
async def form(name: Annotated[str, Form()], age: Annotated[int, Form()]):
    return {"name": name, "age": age}


@app.post("/upload")
async def upload(file: Annotated[UploadFile, File()]):
    return {"name": file.filename, "size": len(await file.read())}


@app.get("/cookie")
async def cookie(request: Request, response: Response):
    response.set_cookie("plain", "yes")
    return {"seen": request.cookies.get("plain")}


@app.get("/stream")
async def stream():
    async def parts():
        for number in range(5):
            yield f"{number}\n"
            await asyncio.sleep(0)

    return StreamingResponse(parts(), media_type="text/plain")


@app.get("/dependency")
async def dependency(value: Annotated[dict, Depends(resource)]):
    return value


@app.get("/background")
async def background(tasks: BackgroundTasks):
    tasks.add_task(DONE.append, "background")
    return {"queued": True}


@app.get("/done")
async def done():
    return DONE


@app.get("/missing")
async def missing():
    raise HTTPException(404, "not here")


@app.get("/error")
async def error():
    raise RuntimeError("FastAPI endpoint failed")


@app.get("/client")
async def client(request: Request):
    return {"host": request.client.host if request.client else None, "url": str(request.url)}
