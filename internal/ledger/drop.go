package ledger

import (
	"context"
	"fmt"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/team"
)

// DropDB takes a database out of the team, for everybody: nothing more is written to
// it. What is here stays on the disk.
func (c *Chain) DropDB(ctx context.Context, db block.DBID) error {
	d := c.n.Database(db)
	if d == nil {
		return fmt.Errorf("%s is not on this device", db)
	}
	if err := c.Ready(ctx); err != nil {
		return err
	}
	if err := c.check(team.RemoveDB{DB: db}); err != nil {
		return err
	}
	heads, err := d.vouch(ctx, false)
	if err != nil {
		return err
	}
	_, err = c.Link(ctx, team.RemoveDB{DB: db, Heads: heads}, nil)
	return err
}
