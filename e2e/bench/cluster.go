package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// member is one process of a cluster.
type member struct {
	name, role, rpc, rest string
	flags                 []string
}

// startCluster starts as many coordinators and volumes, and one gateway, each a process of its own on loopback, with replication 3 or
// as many as there are volumes. The server that it gives is the gateway; its CPU is that of all of them.
func startCluster(ctx context.Context, s settings, dir string, coordinators, volumes int) (*server, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	secret := make([]byte, 32)
	_, _ = rand.Read(secret)
	env := append(os.Environ(), "MINIKV_ROOT_USER="+accessKey, "MINIKV_ROOT_PASSWORD="+secretKey, "MINIKV_DEFAULT_BUCKETS="+bucket,
		"MINIKV_CLUSTER_SECRET="+hex.EncodeToString(secret), fmt.Sprintf("MINIKV_REPLICATION=%d", min(3, volumes)))
	s3 := freeAddr()
	srv := &server{url: "http://" + s3, filled: map[int]bool{}}
	for _, m := range membersOf(coordinators, volumes, s3) {
		args := append([]string{"serve", "--node", m.name, "--roles", m.role, "--data", filepath.Join(dir, m.name), "--rest", m.rest}, m.flags...)
		p, err := spawn(ctx, s.bin, append(args, strings.Fields(s.args)...), env, filepath.Join(dir, m.name+".log"))
		if err != nil {
			srv.stop()
			return nil, err
		}
		srv.processes = append(srv.processes, process{cmd: p, role: m.role, name: m.name, rest: "http://" + m.rest})
		srv.rest = "http://" + m.rest
	}
	if err := srv.awaitReady(ctx); err != nil {
		srv.stop()
		return nil, err
	}
	return srv, nil
}

// membersOf plans the processes; the gateway comes last.
func membersOf(coordinators, volumes int, s3 string) []member {
	var all []member
	var cluster, join []string
	for i := range coordinators {
		m := member{name: fmt.Sprintf("c%d", i+1), role: "coordinator", rpc: freeAddr(), rest: freeAddr()}
		cluster, join = append(cluster, m.name+"="+m.rpc), append(join, m.rpc)
		all = append(all, m)
	}
	for i := range all {
		all[i].flags = []string{"--cluster", strings.Join(cluster, ","), "--cluster-volumes", fmt.Sprint(volumes), "--raft", freeAddr()}
	}
	to := strings.Join(join, ",")
	for i := range volumes {
		all = append(all, member{name: fmt.Sprintf("v%d", i+1), role: "volume", rest: freeAddr(), flags: []string{"--join", to, "--rpc", freeAddr()}})
	}
	return append(all, member{name: "g1", role: "gateway", rest: freeAddr(), flags: []string{"--join", to, "--rpc", freeAddr(), "--s3", s3}})
}

// spawn starts a process with its errors and logs in a file.
func spawn(ctx context.Context, bin string, args, env []string, logName string) (*exec.Cmd, error) {
	cmd := exec.CommandContext(ctx, bin, args...)
	cmd.Env = env
	log, err := os.Create(logName) // at the default level: the access log is part of what a request costs
	if err != nil {
		return nil, err
	}
	defer func() { _ = log.Close() }() // the process has its own
	cmd.Stderr = log
	return cmd, cmd.Start()
}
