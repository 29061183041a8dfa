package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/toftdb/toft/config"
	"github.com/toftdb/toft/node/api"
)

// demoTime is how long the whole story may take.
const demoTime = 20 * time.Second

func (a *app) demoCmd() *cobra.Command {
	return &cobra.Command{
		Use: "demo", Args: cobra.NoArgs,
		Example: "toft demo",
		Short:   "Play the whole story with real peers on this machine, in a directory that is removed",
		Long: "Play the whole story with real peers on this machine, in a directory that is\nremoved: ann founds a team, bob joins by a code, both write, also while apart, and\n" +
			"a stranger gets nothing. Ends with 0 only if everything held.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			dir, err := os.MkdirTemp("", "toft-demo-")
			if err != nil {
				return fmt.Errorf("demo: %w", err)
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), demoTime)
			defer cancel()
			d := &demo{app: a, dir: dir, begun: a.now()}
			err = d.tell(ctx)
			return errors.Join(err, d.close(), os.RemoveAll(dir))
		},
	}
}

// demo is the stage of `toft demo`.
type demo struct {
	*app
	dir     string
	begun   time.Time
	players []*player
	told    []toldStep
}

// toldStep is one line of the JSON of `toft demo`.
type toldStep struct {
	Step    string  `json:"step"`
	Held    bool    `json:"held"`
	Seconds float64 `json:"seconds"` // since the beginning
}

// player is one peer with its own directory.
type player struct {
	d    *demo
	name string
	node localNode // nil while closed
}

// open starts the player's node; a network of Offline keeps it apart from all.
func (p *player) open(ctx context.Context, network config.Network) (err error) {
	cfg := config.Config{
		Dir: filepath.Join(p.d.dir, p.name), User: p.name, Device: p.name + "s-laptop", Network: network,
		Listen: []string{"/ip4/127.0.0.1/tcp/0"},
	}
	p.node, err = p.d.system.open(ctx, cfg, p.d.logger(slog.LevelError), nil)
	return err
}

func (p *player) close() error {
	if p.node == nil {
		return nil
	}
	n := p.node
	p.node = nil
	return n.Close()
}

// addr is where others reach the player.
func (p *player) addr(ctx context.Context) (string, error) {
	s, err := p.node.Status(ctx)
	if err != nil {
		return "", err
	}
	if len(s.Network.Addrs) == 0 {
		return "", fmt.Errorf("%s listens nowhere", p.name)
	}
	return s.Network.Addrs[0], nil
}

func (d *demo) player(name string) *player {
	p := &player{d: d, name: name}
	d.players = append(d.players, p)
	return p
}

func (d *demo) close() error {
	var errs []error
	for _, p := range d.players {
		errs = append(errs, p.close())
	}
	return errors.Join(errs...)
}

// step plays one step and says whether it held.
func (d *demo) step(text string, play func() error) error {
	err := play()
	t := toldStep{Step: text, Held: err == nil, Seconds: d.now().Sub(d.begun).Seconds()}
	d.told = append(d.told, t)
	if perr := show(d.app, t, func(t toldStep) {
		mark := "ok  "
		if !t.Held {
			mark = "FAIL"
		}
		d.out.line(fmt.Sprintf("%s %5.2fs  %s", mark, t.Seconds, t.Step))
	}); perr != nil {
		return perr
	}
	if err != nil {
		return fmt.Errorf("demo: %s: %w", text, err)
	}
	return nil
}

// steps plays one step after the other, up to the first that does not hold.
func (d *demo) steps(all ...func() error) error {
	for _, s := range all {
		if err := s(); err != nil {
			return err
		}
	}
	return nil
}

// tell plays the story.
func (d *demo) tell(ctx context.Context) error {
	ann, bob, eve := d.player("ann"), d.player("bob"), d.player("eve")
	var inv api.Invite
	return d.steps(
		func() error {
			return d.step("three peers start, each with its own keys and directory", func() error {
				return errors.Join(ann.open(ctx, config.LAN), bob.open(ctx, config.LAN), eve.open(ctx, config.LAN))
			})
		},
		func() error {
			return d.step("ann founds the team fam with a database notes, and makes a code for one use", func() error {
				return d.found(ctx, ann, &inv)
			})
		},
		func() error {
			return d.step("eve mistypes the code: refused", func() error {
				_, err := eve.node.Join(ctx, api.JoinRequest{Code: inv.Code[:len(inv.Code)-2]})
				return mustBe(err, api.ErrInviteInvalid)
			})
		},
		func() error {
			return d.step("bob joins with the code", func() error {
				j, err := bob.node.Join(ctx, api.JoinRequest{Code: inv.Code, Name: "bob"})
				if err != nil {
					return err
				}
				if j.Team.Name != "fam" || len(j.DBs) != 1 {
					return fmt.Errorf("he joined %q with %d databases", j.Team.Name, len(j.DBs))
				}
				return nil
			})
		},
		func() error {
			return d.step("what ann puts, bob's watch tells; what bob puts, ann's watch tells", func() error {
				return errors.Join(d.live(ctx, ann, bob, "milk"), d.live(ctx, bob, ann, "bread"))
			})
		},
		func() error {
			return d.step("eve tries the code that bob has used: refused", func() error {
				_, err := eve.node.Join(ctx, api.JoinRequest{Code: inv.Code})
				return mustBe(err, api.ErrInviteUsed)
			})
		},
		func() error {
			return d.step("eve connects to ann all the same, and sees no team and no database", func() error {
				return d.shutOut(ctx, ann, eve)
			})
		},
		func() error {
			return d.step("apart, with no network: ann changes the price of milk, bob its amount", func() error {
				return d.apart(ctx, ann, bob)
			})
		},
		func() error {
			return d.step("they meet again: both edits are there, and both digests are equal", func() error {
				return d.meet(ctx, ann, bob)
			})
		},
	)
}

func mustBe(err, want error) error {
	if err == nil {
		return errors.New("it was not refused")
	}
	if !errors.Is(err, want) {
		return fmt.Errorf("refused, but not as %w: %w", want, err)
	}
	return nil
}

func (d *demo) found(ctx context.Context, ann *player, inv *api.Invite) error {
	fam, err := ann.node.CreateTeam(ctx, "fam")
	if err != nil {
		return err
	}
	notes, err := fam.CreateDB(ctx, "notes")
	if err != nil {
		return err
	}
	if _, err := notes.Put(ctx, api.Doc{"_id": "welcome", "text": "hello"}); err != nil {
		return err
	}
	*inv, err = fam.InviteMember(ctx, api.MemberInvite{MaxUses: 1})
	return err
}

// live lets from put a document while to watches.
func (d *demo) live(ctx context.Context, from, to *player, id string) error {
	src, err := from.node.DB(ctx, "fam/notes")
	if err != nil {
		return err
	}
	dst, err := to.node.DB(ctx, "fam/notes")
	if err != nil {
		return err
	}
	for e, err := range dst.Watch(ctx) {
		if err != nil {
			return fmt.Errorf("%s waits for %s: %w", to.name, id, err)
		}
		if e.Op == api.OpReady {
			if _, err := src.Put(ctx, api.Doc{"_id": id, "by": from.name, "price": 1, "amount": 1}); err != nil {
				return err
			}
		}
		if e.ID == id {
			break
		}
	}
	return nil
}

// shutOut checks what a stranger sees who knows the address.
func (d *demo) shutOut(ctx context.Context, ann, eve *player) error {
	addr, err := ann.addr(ctx)
	if err != nil {
		return err
	}
	// Ann may hang up on her at once; that she is told so is no failure.
	if _, err := eve.node.Connect(ctx, addr); err != nil && !errors.Is(err, api.ErrUnreachable) {
		return err
	}
	s, err := eve.node.Status(ctx)
	if err != nil {
		return err
	}
	if len(s.DBs) != 0 || len(s.Teams) != 1 {
		return fmt.Errorf("eve sees %d teams and %d databases", len(s.Teams), len(s.DBs))
	}
	_, err = eve.node.DB(ctx, "fam/notes")
	return mustBe(err, api.ErrNotFound)
}

// apart lets both edit one document with the network off.
func (d *demo) apart(ctx context.Context, ann, bob *player) error {
	for p, edit := range map[*player]api.Doc{ann: {"price": 2}, bob: {"amount": 5}} {
		if err := p.close(); err != nil {
			return err
		}
		if err := p.open(ctx, config.Offline); err != nil {
			return err
		}
		db, err := p.node.DB(ctx, "fam/notes")
		if err != nil {
			return err
		}
		if _, err := db.Patch(ctx, "milk", edit); err != nil {
			return err
		}
		if err := p.close(); err != nil {
			return err
		}
	}
	return nil
}

// meet starts both again and waits until they show the same.
func (d *demo) meet(ctx context.Context, ann, bob *player) error {
	if err := errors.Join(ann.open(ctx, config.LAN), bob.open(ctx, config.LAN)); err != nil {
		return err
	}
	addr, err := ann.addr(ctx)
	if err != nil {
		return err
	}
	if _, err := bob.node.Connect(ctx, addr); err != nil {
		return err
	}
	for {
		a, aerr := d.state(ctx, ann)
		b, berr := d.state(ctx, bob)
		if err := errors.Join(aerr, berr); err != nil {
			return err
		}
		if a == b && strings.HasSuffix(a, " amount 5 price 2") {
			return nil
		}
		if err := pause(ctx, 20*time.Millisecond); err != nil {
			return fmt.Errorf("ann has %s, bob has %s: %w", a, b, err)
		}
	}
}

// state tells the digest and what the document says.
func (d *demo) state(ctx context.Context, p *player) (string, error) {
	s, err := p.node.Status(ctx)
	if err != nil {
		return "", err
	}
	db, err := p.node.DB(ctx, "fam/notes")
	if err != nil {
		return "", err
	}
	doc, err := db.Get(ctx, "milk")
	if err != nil {
		return "", err
	}
	for _, state := range s.DBs {
		if state.ID == db.ID() {
			return fmt.Sprintf("digest %s amount %v price %v", short(state.Digest), doc["amount"], doc["price"]), nil
		}
	}
	return "", errors.New("status does not list the database")
}
