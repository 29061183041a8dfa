package team

// reach answers "is a in the past of b" for the links of one bubble. Links that
// follow each other without a fork or a merge form a run; a bit per pair of runs is
// enough, so a long line beside another costs nothing, and only a web of forks and
// merges costs its square.
//
//	B ── C ── D ─┬─ E        runs: BCD, E, F·G
//	             └─ F ── G
type reach struct {
	run, pos []int32
	rows     []runs // by run: the runs in the past of its first link; nil: none
}

// runs is a set of them.
type runs []uint64

func (b runs) has(i int32) bool { return b != nil && b[i/64]>>(i%64)&1 != 0 }
func (b runs) add(i int32)      { b[i/64] |= 1 << (i % 64) }

// newReach takes for each link, in topological order, its parents in the bubble;
// alone says that it has no other parents.
func newReach(parents [][]int32, alone []bool) *reach {
	children := make([]int32, len(parents))
	for _, ps := range parents {
		for _, p := range ps {
			children[p]++
		}
	}
	r := &reach{run: make([]int32, len(parents)), pos: make([]int32, len(parents))}
	first := make([]int, 0, len(parents))
	for i, ps := range parents {
		if len(ps) == 1 && alone[i] && children[ps[0]] == 1 {
			r.run[i], r.pos[i] = r.run[ps[0]], r.pos[ps[0]]+1
			continue
		}
		r.run[i] = int32(len(first))
		first = append(first, i)
	}
	r.rows = make([]runs, len(first))
	for k, i := range first {
		for _, p := range parents[i] {
			if r.rows[k] == nil {
				r.rows[k] = make(runs, (len(first)+63)/64)
			}
			r.rows[k].add(r.run[p])
			for w, x := range r.rows[r.run[p]] {
				r.rows[k][w] |= x
			}
		}
	}
	return r
}

// under reports whether local link i is in the past of local link j.
func (r *reach) under(i, j int) bool {
	a, b := r.run[i], r.run[j]
	if a == b {
		return r.pos[i] < r.pos[j]
	}
	return r.rows[b].has(a)
}
