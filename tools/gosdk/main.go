// Command gosdk is a client made with the Go SDK of the Model Context Protocol. It lists the tools of a server, calls one,
// and prints what it saw as one JSON document. It answers what the server asks of it meanwhile.
//
//	gosdk TOOL ARGUMENTS URL
//	gosdk TOOL ARGUMENTS PROGRAM [ARGUMENT…]
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

type seen struct {
	Version  string              `json:"version"`
	Tools    []*mcp.Tool         `json:"tools"`
	Result   *mcp.CallToolResult `json:"result"`
	Progress []float64           `json:"progress"`
}

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Second)
	defer cancel()
	found, err := look(ctx, os.Args[1], json.RawMessage(os.Args[2]), os.Args[3:])
	if err == nil {
		err = json.NewEncoder(os.Stdout).Encode(found)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func look(ctx context.Context, tool string, arguments json.RawMessage, server []string) (*seen, error) {
	var lock sync.Mutex
	var found seen
	ended := make(chan struct{}, 1)
	client := mcp.NewClient(&mcp.Implementation{Name: "gosdk", Version: "1"}, &mcp.ClientOptions{
		ElicitationHandler: func(context.Context, *mcp.ElicitRequest) (*mcp.ElicitResult, error) {
			return &mcp.ElicitResult{Action: "accept", Content: map[string]any{"name": "Ada"}}, nil
		},
		ProgressNotificationHandler: func(_ context.Context, request *mcp.ProgressNotificationClientRequest) {
			lock.Lock()
			defer lock.Unlock()
			found.Progress = append(found.Progress, request.Params.Progress)
			if request.Params.Progress == request.Params.Total {
				ended <- struct{}{}
			}
		},
	})
	session, err := client.Connect(ctx, transport(server), nil)
	if err != nil {
		return nil, err
	}
	defer session.Close()
	found.Version = session.InitializeResult().ProtocolVersion
	for listed, err := range session.Tools(ctx, nil) {
		if err != nil {
			return nil, err
		}
		found.Tools = append(found.Tools, listed)
	}
	slices.SortFunc(found.Tools, func(a, b *mcp.Tool) int { return strings.Compare(a.Name, b.Name) })
	call := &mcp.CallToolParams{Name: tool, Arguments: arguments}
	call.SetProgressToken("how far")
	found.Result, err = session.CallTool(ctx, call)
	lock.Lock()
	begun := len(found.Progress) > 0
	lock.Unlock()
	if begun {
		// The SDK may give out the result while the last of these, which came before it, still waits for its handler.
		select {
		case <-ended:
		case <-ctx.Done():
		}
	}
	lock.Lock()
	defer lock.Unlock()
	return &found, err
}

func transport(server []string) mcp.Transport {
	if strings.HasPrefix(server[0], "http://") {
		return &mcp.StreamableClientTransport{Endpoint: server[0]}
	}
	return &mcp.CommandTransport{Command: exec.Command(server[0], server[1:]...)}
}
