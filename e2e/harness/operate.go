package harness

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"
)

// Operate has the cluster do an operation of internal/ops, by POST /admin/v1/NAME as root, and decodes the answer.
func (n *Node) Operate(name string, request, answer any) error {
	body, err := json.Marshal(request)
	if err != nil {
		return err
	}
	req, err := http.NewRequest(http.MethodPost, n.REST+"/admin/v1/"+name, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.SetBasicAuth(RootUser, RootPassword)
	client := n.HTTPClient()
	client.Timeout = 30 * time.Second
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: status %d: %s", name, resp.StatusCode, text)
	}
	return json.Unmarshal(text, answer)
}

// Join starts a further node with these roles and waits until it is ready.
func (f *Fleet) Join(name, roles string) *Node {
	f.t.Helper()
	n := f.addJoining(name, roles)
	n.Run()
	return n
}

// Another makes, without starting it, a second node of a name, with a data directory and ports of its own.
func (f *Fleet) Another(name, roles string) *Node {
	f.t.Helper()
	first := f.Nodes[name]
	n := f.addJoining(name, roles)
	f.Nodes[name] = first
	return n
}
