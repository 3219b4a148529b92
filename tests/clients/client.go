// Go's own HTTP client against the daemon: what it saw goes to stdout as JSON.
//
//	client URL CA    the daemon serves tests/apps/clients_wsgi.py or clients_asgi.py
package main

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"os"
	"sync"
)

func check(err error) {
	if err != nil {
		panic(err)
	}
}

func newClient(ca string) *http.Client {
	protocols := new(http.Protocols)
	if ca == "" {
		protocols.SetUnencryptedHTTP2(true)
		return &http.Client{Transport: &http.Transport{Protocols: protocols}}
	}
	protocols.SetHTTP2(true)
	text, err := os.ReadFile(ca)
	check(err)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(text)
	return &http.Client{Transport: &http.Transport{Protocols: protocols, TLSClientConfig: &tls.Config{RootCAs: roots}}}
}

func main() {
	url, client := os.Args[1], newClient(os.Args[2])
	seen := map[string]any{}

	response, err := client.Get(url + "/hello")
	check(err)
	text, err := io.ReadAll(response.Body)
	check(err)
	seen["proto"], seen["hello"] = response.Proto, string(text)

	upload := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	response, err = client.Post(url+"/digest", "application/octet-stream", bytes.NewReader(upload))
	check(err)
	text, err = io.ReadAll(response.Body)
	check(err)
	sum := sha256.Sum256(upload)
	seen["upload"] = string(text) == hex.EncodeToString(sum[:])

	// A body whose length is not known before it ends.
	response, err = client.Post(url+"/digest", "", io.MultiReader(bytes.NewReader(upload[:70000]), bytes.NewReader(upload[70000:])))
	check(err)
	text, err = io.ReadAll(response.Body)
	check(err)
	seen["streamed_upload"] = string(text) == hex.EncodeToString(sum[:])

	response, err = client.Get(url + "/large?3000000")
	check(err)
	length, err := io.Copy(io.Discard, response.Body)
	check(err)
	seen["download"] = length

	links := []string{}
	request, err := http.NewRequest("GET", url+"/hints", nil)
	check(err)
	trace := &httptrace.ClientTrace{Got1xxResponse: func(code int, header textproto.MIMEHeader) error {
		links = append(links, header["Link"]...)
		return nil
	}}
	response, err = client.Do(request.WithContext(httptrace.WithClientTrace(request.Context(), trace)))
	check(err)
	_, err = io.Copy(io.Discard, response.Body)
	check(err)
	seen["hints"], seen["after_hints"] = links, response.StatusCode

	request, err = http.NewRequest("GET", url+"/trailers", nil)
	check(err)
	request.Header.Set("Te", "trailers")
	response, err = client.Do(request)
	check(err)
	_, err = io.Copy(io.Discard, response.Body)
	check(err)
	seen["trailer"] = response.Trailer.Get("X-Digest")

	var group sync.WaitGroup
	var lock sync.Mutex
	served := 0
	for range 100 {
		group.Add(1)
		go func() {
			defer group.Done()
			response, err := client.Get(url + "/hello")
			check(err)
			_, err = io.Copy(io.Discard, response.Body)
			check(err)
			lock.Lock()
			defer lock.Unlock()
			if response.StatusCode == 200 && response.ProtoMajor == 2 {
				served++
			}
		}()
	}
	group.Wait()
	seen["parallel"] = served
	check(json.NewEncoder(os.Stdout).Encode(seen))
}
