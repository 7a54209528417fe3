package main

import (
	"os"
	"testing"
)

// What is committed is what `make proto` makes.
func TestGeneratedCodeIsCurrent(t *testing.T) {
	t.Chdir("../../..")
	files, err := protoFiles()
	if err != nil {
		t.Fatal(err)
	}
	req, err := request(t.Context(), files)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := generate(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	if len(resp.GetFile()) != len(files) {
		t.Fatalf("%d files of %d", len(resp.GetFile()), len(files))
	}
	for _, f := range resp.GetFile() {
		b, err := os.ReadFile(f.GetName())
		if err != nil {
			t.Error(err)
		} else if string(b) != f.GetContent() {
			t.Errorf("%s is not what make proto makes", f.GetName())
		}
	}
}
