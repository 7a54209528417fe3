// Command protogen turns proto/*.proto into Go, with nothing but Go: protocompile parses, and the protoc-gen-go that go.mod
// pins as a tool generates. Run it from the root of the module: go run ./internal/tools/protogen.
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sort"

	"github.com/bufbuild/protocompile"
	"github.com/bufbuild/protocompile/protoutil"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/pluginpb"
)

// sources is the folder of the .proto files; generated packages go where their go_package says, below the module's root.
const sources = "proto"

func main() {
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "protogen:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	files, err := protoFiles()
	if err != nil {
		return err
	}
	req, err := request(ctx, files)
	if err != nil {
		return err
	}
	resp, err := generate(ctx, req)
	if err != nil {
		return err
	}
	return write(resp)
}

// protoFiles lists the sources by base name.
func protoFiles() ([]string, error) {
	files, err := filepath.Glob(filepath.Join(sources, "*.proto"))
	if err != nil {
		return nil, err
	}
	if len(files) == 0 {
		return nil, errors.New("no .proto files in " + sources + ": run from the root of the module")
	}
	for i, f := range files {
		files[i] = filepath.Base(f)
	}
	sort.Strings(files)
	return files, nil
}

// request compiles the files to what protoc would hand to its plugin, comments included.
func request(ctx context.Context, files []string) (*pluginpb.CodeGeneratorRequest, error) {
	c := protocompile.Compiler{
		Resolver:       protocompile.WithStandardImports(&protocompile.SourceResolver{ImportPaths: []string{sources}}),
		SourceInfoMode: protocompile.SourceInfoStandard,
	}
	compiled, err := c.Compile(ctx, files...)
	if err != nil {
		return nil, err
	}
	var descs []*descriptorpb.FileDescriptorProto
	seen := map[string]bool{}
	for _, f := range compiled {
		descs = withImports(descs, seen, f)
	}
	return &pluginpb.CodeGeneratorRequest{
		FileToGenerate: files,
		Parameter:      proto.String("module=minikv"),
		ProtoFile:      descs,
	}, nil
}

// withImports appends what f imports, then f: plugins want every file after its imports.
func withImports(descs []*descriptorpb.FileDescriptorProto, seen map[string]bool, f protoreflect.FileDescriptor) []*descriptorpb.FileDescriptorProto {
	if seen[f.Path()] {
		return descs
	}
	seen[f.Path()] = true
	for i := range f.Imports().Len() {
		descs = withImports(descs, seen, f.Imports().Get(i).FileDescriptor)
	}
	return append(descs, protoutil.ProtoFromFileDescriptor(f))
}

func generate(ctx context.Context, req *pluginpb.CodeGeneratorRequest) (*pluginpb.CodeGeneratorResponse, error) {
	in, err := proto.Marshal(req)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	cmd := exec.CommandContext(ctx, "go", "tool", "protoc-gen-go")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(in), &out, os.Stderr
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("go tool protoc-gen-go: %w", err)
	}
	resp := new(pluginpb.CodeGeneratorResponse)
	if err := proto.Unmarshal(out.Bytes(), resp); err != nil {
		return nil, err
	}
	if resp.GetError() != "" {
		return nil, errors.New(resp.GetError())
	}
	return resp, nil
}

func write(resp *pluginpb.CodeGeneratorResponse) error {
	for _, f := range resp.GetFile() {
		if err := os.MkdirAll(filepath.Dir(f.GetName()), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(f.GetName(), []byte(f.GetContent()), 0o644); err != nil {
			return err
		}
		fmt.Println(f.GetName())
	}
	return nil
}
