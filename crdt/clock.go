package crdt

// clock holds for each actor, by its local number, the greatest seq in the past
// of a commit. Clocks share pages: a commit on top of another one copies at most
// one page of 16 actors, whatever the number of actors and the length of history.
type clock []*[16]uint64

func (c clock) at(actor int) uint64 {
	if i := actor / 16; i < len(c) && c[i] != nil {
		return c[i][actor%16]
	}
	return 0
}

// with returns a clock in which actor is at least at seq.
func (c clock) with(actor int, seq uint64) clock {
	if c.at(actor) >= seq {
		return c
	}
	i := actor / 16
	out := make(clock, max(len(c), i+1))
	copy(out, c)
	page := [16]uint64{}
	if out[i] != nil {
		page = *out[i]
	}
	page[actor%16] = seq
	out[i] = &page
	return out
}

// join returns the greater of both, actor by actor.
func (c clock) join(o clock) clock {
	if len(c) < len(o) {
		c, o = o, c
	}
	var out clock
	for i, page := range o {
		if page == nil || page == c[i] {
			continue
		}
		merged := joinPages(c[i], page)
		if merged == c[i] {
			continue
		}
		if out == nil {
			out = append(clock(nil), c...)
		}
		out[i] = merged
	}
	if out == nil {
		return c
	}
	return out
}

// joinPages returns one of its arguments where that is the result.
func joinPages(a, b *[16]uint64) *[16]uint64 {
	if a == nil {
		return b
	}
	merged := *a
	for i := range merged {
		merged[i] = max(merged[i], b[i])
	}
	switch merged {
	case *a:
		return a
	case *b:
		return b
	}
	return &merged
}
