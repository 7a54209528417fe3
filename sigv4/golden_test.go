package sigv4

import (
	"bytes"
	"net/http"
	"strings"
	"testing"
	"time"
)

// goldenHeader are the examples of "Signature Calculations for the Authorization Header: Transferring Payload in a
// Single Chunk", Amazon S3 API Reference.
var goldenHeader = []struct {
	name, method, target, payload string
	header                        http.Header
	signedHeaders, signature      string
}{
	{
		name: "GET object", method: "GET", target: "/test.txt", payload: EmptySHA256,
		header:        header("Range", "bytes=0-9"),
		signedHeaders: "host;range;x-amz-content-sha256;x-amz-date",
		signature:     "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
	},
	{
		name: "PUT object", method: "PUT", target: "/test$file.text",
		payload:       "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072",
		header:        header("Date", "Fri, 24 May 2013 00:00:00 GMT", "X-Amz-Storage-Class", "REDUCED_REDUNDANCY"),
		signedHeaders: "date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class",
		signature:     "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
	},
	{
		name: "GET bucket lifecycle", method: "GET", target: "/?lifecycle", payload: EmptySHA256,
		header:        header(),
		signedHeaders: "host;x-amz-content-sha256;x-amz-date",
		signature:     "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
	},
	{
		name: "GET bucket (list objects)", method: "GET", target: "/?max-keys=2&prefix=J", payload: EmptySHA256,
		header:        header(),
		signedHeaders: "host;x-amz-content-sha256;x-amz-date",
		signature:     "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
	},
}

func TestGoldenAuthorizationHeader(t *testing.T) {
	for _, g := range goldenHeader {
		t.Run(g.name, func(t *testing.T) {
			r := signed(t, g.method, g.target, g.payload, g.header.Clone())
			want := "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, SignedHeaders=" +
				g.signedHeaders + ", Signature=" + g.signature
			if got := r.Header.Get("Authorization"); got != want {
				t.Errorf("signer:\n got %s\nwant %s", got, want)
			}
			// The page prints the header without spaces after the commas.
			r.Header.Set("Authorization", strings.ReplaceAll(want, ", ", ","))
			res := mustVerify(t, exampleVerifier(), r)
			if res.AccessKey != exampleKey || res.Type != AuthHeaderV4 || !res.Time.Equal(exampleTime) {
				t.Errorf("identity: %+v", res.Identity)
			}
		})
	}
}

func TestGoldenCanonicalRequest(t *testing.T) {
	r := signed(t, "PUT", "/test$file.text", goldenHeader[1].payload, goldenHeader[1].header.Clone())
	r.Header.Set("Authorization", r.Header.Get("Authorization")[:len(r.Header.Get("Authorization"))-1]+"x")
	_, err := exampleVerifier().Verify(r, ServiceS3)
	e := wantCode(t, err, CodeSignatureDoesNotMatch, 403)
	const canonical = `PUT
/test%24file.text

date:Fri, 24 May 2013 00:00:00 GMT
host:examplebucket.s3.amazonaws.com
x-amz-content-sha256:44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072
x-amz-date:20130524T000000Z
x-amz-storage-class:REDUCED_REDUNDANCY

date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class
44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072`
	const stringToSign = `AWS4-HMAC-SHA256
20130524T000000Z
20130524/us-east-1/s3/aws4_request
9e0e90d9c76de8fa5b200d8c849cd5b8dc7a3be3951ddb7f6a76b4158342019d`
	if e.CanonicalRequest != canonical {
		t.Errorf("canonical request:\n%s", e.CanonicalRequest)
	}
	if e.StringToSign != stringToSign {
		t.Errorf("string to sign:\n%s", e.StringToSign)
	}
	var names []string
	for _, f := range e.Fields {
		names = append(names, f.Name)
	}
	if got := strings.Join(names, " "); got != "AWSAccessKeyId StringToSign SignatureProvided StringToSignBytes "+
		"CanonicalRequest CanonicalRequestBytes" {
		t.Errorf("fields %s", got)
	}
	if !strings.HasPrefix(e.Fields[3].Value, "41 57 53 34 2d ") {
		t.Errorf("StringToSignBytes %q", e.Fields[3].Value)
	}
}

// "Authenticating Requests: Using Query Parameters", Amazon S3 API Reference.
func TestGoldenPresigned(t *testing.T) {
	const want = "https://examplebucket.s3.amazonaws.com/test.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256" +
		"&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request&X-Amz-Date=20130524T000000Z" +
		"&X-Amz-Expires=86400&X-Amz-SignedHeaders=host" +
		"&X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404"
	got, err := exampleSigner().Presign("GET", "https://examplebucket.s3.amazonaws.com/test.txt", nil, 24*time.Hour, exampleTime)
	if err != nil || got != want {
		t.Fatalf("Presign: %v\n got %s\nwant %s", err, got, want)
	}
	r := request(t, "GET", want, header())
	res := mustVerify(t, verifierAt(exampleTime.Add(23*time.Hour)), r)
	if res.Type != AuthPresignedV4 || res.Payload.Mode != PayloadUnsigned || res.QueryHeaders != nil {
		t.Errorf("result %+v", res)
	}
}

// goldenChunks describes the two examples of "Signature Calculations for the Authorization Header: Transferring
// Payload in Multiple Chunks (Chunked Upload)" and its sibling with trailing headers: 65 KiB of 'a' in chunks of 64 KiB.
var goldenChunks = []struct {
	name     string
	mode     PayloadMode
	header   http.Header
	seed     string
	chunks   [3]string
	trailers []Field
	trailer  string
	length   int64 // Content-Length; 0 if it is not signed in the example
}{
	{
		name: "signed", mode: PayloadChunked,
		header: header("X-Amz-Storage-Class", "REDUCED_REDUNDANCY", "Content-Encoding", "aws-chunked",
			"X-Amz-Decoded-Content-Length", "66560"),
		seed: "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9",
		chunks: [3]string{
			"ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648",
			"0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497",
			"b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9",
		},
		length: 66824,
	},
	{
		name: "signed with trailer", mode: PayloadChunkedTrailer,
		header: header("X-Amz-Storage-Class", "REDUCED_REDUNDANCY", "Content-Encoding", "aws-chunked",
			"X-Amz-Decoded-Content-Length", "66560", "X-Amz-Trailer", "x-amz-checksum-crc32c"),
		seed: "106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e",
		chunks: [3]string{
			"b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2",
			"1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2c1d40a8cae51e5c7",
			"2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992",
		},
		trailers: []Field{{"x-amz-checksum-crc32c", "sOO8/Q=="}},
		trailer:  "d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435",
	},
}

func TestGoldenChunkedUpload(t *testing.T) {
	data := bytes.Repeat([]byte("a"), 66560)
	for _, g := range goldenChunks {
		t.Run(g.name, func(t *testing.T) {
			var body strings.Builder
			body.WriteString("10000;chunk-signature=" + g.chunks[0] + "\r\n" + string(data[:65536]) + "\r\n")
			body.WriteString("400;chunk-signature=" + g.chunks[1] + "\r\n" + string(data[65536:]) + "\r\n")
			body.WriteString("0;chunk-signature=" + g.chunks[2] + "\r\n")
			for _, f := range g.trailers {
				body.WriteString(f.Name + ":" + f.Value + "\r\n")
			}
			if g.trailer != "" {
				body.WriteString("x-amz-trailer-signature:" + g.trailer + "\r\n")
			}
			body.WriteString("\r\n")

			hr, err := http.NewRequest("PUT", "https://s3.amazonaws.com/examplebucket/chunkObject.txt", nil)
			if err != nil {
				t.Fatal(err)
			}
			hr.Header, hr.ContentLength = g.header.Clone(), g.length
			seed, err := exampleSigner().Sign(hr, g.mode.String(), exampleTime)
			if err != nil || seed.Signature != g.seed {
				t.Fatalf("seed signature %s (%v), want %s", seed.Signature, err, g.seed)
			}

			var wrote bytes.Buffer
			w, err := NewChunkedWriter(&wrote, g.mode, seed, 65536)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := w.Write(data); err != nil {
				t.Fatal(err)
			}
			if err := w.Close(g.trailers...); err != nil {
				t.Fatal(err)
			}
			if wrote.String() != body.String() {
				t.Errorf("writer's body differs from the example")
			}
			if n := ChunkedLength(g.mode, 66560, 65536, g.trailers...); n != int64(body.Len()) || g.length > 0 && n != g.length {
				t.Errorf("ChunkedLength %d, body has %d, example says %d", n, body.Len(), g.length)
			}

			r, err := ParseRequest("PUT", "/examplebucket/chunkObject.txt", "s3.amazonaws.com", hr.Header, int64(body.Len()), nil)
			if err != nil {
				t.Fatal(err)
			}
			res := mustVerify(t, exampleVerifier(), r)
			if res.Payload.Mode != g.mode || res.Payload.DecodedLength != 66560 {
				t.Errorf("payload %+v", res.Payload)
			}
			got, reader, err := readBody(t, res, []byte(body.String()))
			if err != nil || !bytes.Equal(got, data) {
				t.Fatalf("decoded %d bytes, %v", len(got), err)
			}
			for _, f := range g.trailers {
				if v, ok := reader.(*ChunkedReader).Trailer(f.Name); !ok || v != f.Value {
					t.Errorf("trailer %s: %q %v", f.Name, v, ok)
				}
			}
		})
	}
}

// The signing key example of "Deriving the signing key" in the AWS General Reference.
func TestGoldenSigningKey(t *testing.T) {
	key := DeriveKey("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", Scope{"20150830", "us-east-1", "iam"})
	const want = "c4afb1cc5771d871763a393e44b703571b55cc28424d1a5e86da6ed3c154a4b9"
	if got := spacedHex(string(key[:])); strings.ReplaceAll(got, " ", "") != want {
		t.Errorf("got %s", got)
	}
}
