package main

import (
	"context"
	"log/slog"

	"github.com/toftdb/toft/config"
	"github.com/toftdb/toft/node"
)

// openNode opens the node that lives in c.Dir.
func openNode(ctx context.Context, c config.Config, log *slog.Logger) (localNode, error) {
	n, err := node.Open(ctx, node.Config{Config: c, Log: log})
	if err != nil {
		return nil, err // not n: a nil *Node in an interface is not nil
	}
	return n, nil
}

// version of this program.
const version = node.Version
