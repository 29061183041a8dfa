package vault

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/internal/wire"
)

// maxHistory bounds the parent generations one link seals: as many as it may have
// parent links.
const maxHistory = block.MaxParents

// pastKey is one entry of a history layer, the array [generation, key].
type pastKey struct {
	_          struct{} `cbor:",toarray"`
	Generation block.Generation
	Key        block.Secret
}

// SealHistory seals the parent generations under the one that link h makes, and
// their route keys under its route key, so that one lockbox opens all of the past.
// newKey is the new generation, h the header of the link (its body is not part of
// it). No parents give two empty layers.
func (k *Keyring) SealHistory(newKey block.Secret, h block.Header, parents []block.Generation) (history, routeHistory []byte, err error) {
	if len(parents) == 0 {
		return nil, nil, nil
	}
	full, routes, err := k.past(h.Team, parents)
	if err != nil {
		return nil, nil, fmt.Errorf("seal history: %w", err)
	}
	g := newGeneration(h.Team, newKey, RouteKey(h.Team, newKey))
	a := h.Authenticated()
	if history, err = g.history().seal(a, wire.Must(full)); err != nil {
		return nil, nil, err
	}
	routeHistory, err = g.routeHistory().seal(a, wire.Must(routes))
	return history, routeHistory, err
}

// past collects the parents' keys, sorted by generation.
func (k *Keyring) past(team block.TeamID, parents []block.Generation) (full, routes []pastKey, err error) {
	parents = slices.Clone(parents)
	slices.SortFunc(parents, compareGenerations)
	parents = slices.Compact(parents)
	if len(parents) > maxHistory {
		return nil, nil, fmt.Errorf("%d parent generations, at most %d", len(parents), maxHistory)
	}
	for _, gen := range parents {
		g, err := k.find(name{team, gen}, true)
		if err != nil {
			return nil, nil, err
		}
		full = append(full, pastKey{Generation: gen, Key: g.secret})
		routes = append(routes, pastKey{Generation: gen, Key: g.route})
	}
	return full, routes, nil
}

func compareGenerations(a, b block.Generation) int { return bytes.Compare(a[:], b[:]) }

// OpenHistory opens the history layers of link h, which made generation gen, with
// what the device holds of gen, and adds the parents' keys. added counts those
// that are new. It returns ErrNoKey if the device holds nothing of gen, and
// ErrSealed or ErrOtherKey for layers that break their promise; good entries
// beside a bad one are added.
func (k *Keyring) OpenHistory(h block.Header, gen block.Generation, history, routeHistory []byte) (added int, err error) {
	g, err := k.find(name{h.Team, gen}, false)
	if err != nil {
		return 0, fmt.Errorf("open history: %w", err)
	}
	a := h.Authenticated()
	// The full layer holds all that the route layer holds; a member needs one.
	if g.history != nil {
		return k.openPast(g.history(), block.BoxGeneration, h.Team, a, history)
	}
	return k.openPast(g.routeHistory(), block.BoxRoute, h.Team, a, routeHistory)
}

func (k *Keyring) openPast(p *pair, purpose block.BoxPurpose, team block.TeamID, a, body []byte) (added int, err error) {
	if len(body) == 0 {
		return 0, nil
	}
	plain, err := p.open(a, body)
	if err != nil {
		return 0, fmt.Errorf("open history: %w", err)
	}
	past, err := parsePast(plain)
	if err != nil {
		return 0, fmt.Errorf("open history: %w", err)
	}
	var bad []error
	for _, e := range past {
		n := name{team, e.Generation}
		had := k.holds(n, purpose)
		if err := k.add(n, purpose, e.Key); err != nil {
			bad = append(bad, fmt.Errorf("open history: %w", err))
		} else if !had {
			added++
		}
	}
	return added, errors.Join(bad...)
}

// parsePast decodes a history layer: generations sorted, none twice, none zero.
func parsePast(plain []byte) ([]pastKey, error) {
	past, err := wire.Decode[[]pastKey](plain, block.MaxLinkSize)
	if err != nil {
		return nil, fmt.Errorf("%w: %v", ErrSealed, err)
	}
	if len(past) == 0 || len(past) > maxHistory {
		return nil, fmt.Errorf("%w: %d generations", ErrSealed, len(past))
	}
	for i, e := range past {
		if e.Generation.IsZero() || e.Key.IsZero() || i > 0 && compareGenerations(past[i-1].Generation, e.Generation) >= 0 {
			return nil, fmt.Errorf("%w: generations of a history layer", ErrSealed)
		}
	}
	return past, nil
}
