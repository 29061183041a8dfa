package main

import (
	"context"
	"log/slog"

	"github.com/libp2p/go-libp2p/gologshim"

	"github.com/toftdb/toft/config"
	"github.com/toftdb/toft/node"
	"github.com/toftdb/toft/node/api"
)

// openNode opens the node that lives in c.Dir.
func openNode(ctx context.Context, c config.Config, log *slog.Logger, passphrase func() (api.Secret, error)) (localNode, error) {
	// What libp2p logs is for who debugs it: what matters of it comes back as an error.
	chatter := slog.DiscardHandler
	if log != nil && log.Enabled(ctx, slog.LevelDebug) {
		chatter = log.Handler()
	}
	gologshim.SetDefaultHandler(chatter)
	n, err := node.Open(ctx, node.Config{Config: c, Log: log, Passphrase: passphrase})
	if err != nil {
		return nil, err // not n: a nil *Node in an interface is not nil
	}
	return n, nil
}

// version of this program.
const version = node.Version
