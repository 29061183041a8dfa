package crdt

import (
	"fmt"
	"slices"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/internal/planted"
	"github.com/toftdb/toft/internal/wire"
)

// Verb is what a write does.
type Verb uint8

// The verbs.
const (
	// Put makes the document read as given and settles every conflict seen. Files
	// stay unless the write names them.
	Put Verb = iota + 1
	// Patch is an RFC 7396 merge patch: null removes, objects merge, everything else
	// replaces; {"$inc": n} counts. Only the paths it names are settled.
	Patch
	// Delete hides the document; who edits it without having seen that brings it back.
	Delete
	// Restore brings a deleted document back.
	Restore
	// Purge drops everything seen of the document.
	Purge
)

// Write is one change of one document.
type Write struct {
	Verb Verb
	// ID of the document; may be left to Body's "_id".
	ID   string
	Body Doc // of Put and Patch
	// IfRev, if not empty (or else Body's "_rev"), is the revision the change was
	// made for: another one is a *[ConflictError].
	IfRev string
	// IfAbsent makes a document that is there an [ErrExists].
	IfAbsent bool
	// Files are set by name, or removed if nil; of Put and Patch.
	Files map[string]*File
}

// File is a file of a document, its content in blocks of its own.
type File struct {
	Root     block.ID // where its blocks start
	Hash     [32]byte // keyed hash of the root's plaintext
	Size     uint64   // bytes
	Type     string   // media type
	Modified wire.Time
}

// Author is who writes, and from where.
type Author struct {
	Actor     block.Actor
	Seat      block.ID   // the team link that admitted the device
	Time      wire.Time  // the clock; raised above the actor's last commit
	TeamHeads []block.ID // of the chain as applied here, 1–64
}

// Result is what became of a write.
type Result struct {
	ID      string
	Rev     string // after the commit; empty if nothing is kept of the document
	Changed bool   // false: the document read so already, with nothing to settle
}

// Draft is a commit to be: seal the linked blocks, then put their IDs behind the
// parents into the header's links, in order, and Plain into the body.
type Draft struct {
	Parents []block.ID // sorted
	Links   []Linked
	Plain   []byte
	Seq     uint64
	Time    wire.Time

	body *body // of Plain
}

// Linked is a block a draft links: one to be sealed, or (Plain nil) one that
// exists, such as the root of a file.
type Linked struct {
	Kind  block.Kind
	Plain []byte
	ID    block.ID
}

// Draft makes one commit of several requests. A request is a list of writes that
// happen all or not at all; one that fails leaves the others. It returns results
// and errors by request; the draft is nil if nothing changes. Errors: *[BadDocError],
// *[ConflictError], [ErrNotFound], [ErrExists]; for all requests, [ErrActor],
// [ErrHeads].
//
// Nothing is written: seal the draft, store it, and hand the commit to
// [Replica.Add].
func (r *Replica) Draft(a Author, requests [][]Write) (*Draft, [][]Result, []error) {
	results, errs := make([][]Result, len(requests)), make([]error, len(requests))
	d, err := r.newDrafting(a, r.heads)
	if err != nil {
		for i := range errs {
			errs[i] = err
		}
		return nil, results, errs
	}
	n := 0
	for _, writes := range requests {
		n += len(writes)
	}
	d.works = make(map[string]*draftDoc, min(n, MaxOps))
	for i, writes := range requests {
		results[i], errs[i] = d.request(writes)
	}
	draft, err := d.finish()
	for i := range errs {
		if err != nil && errs[i] == nil {
			errs[i], results[i] = err, nil
		}
		for j := range results[i] {
			results[i][j].Rev = d.rev(results[i][j].ID)
		}
	}
	return draft, results, errs
}

// Merge drafts a commit without operations that merges the 64 lowest of more heads,
// nil if there are no more than 64. Repeat until then; a draft needs all heads.
func (r *Replica) Merge(a Author) (*Draft, error) {
	if len(r.heads) <= block.MaxParents {
		return nil, nil
	}
	heads := slices.Clone(r.heads[:block.MaxParents])
	if seq, tip := r.Seq(a.Actor); seq > 0 && !r.Inside(heads, tip) {
		// The actor's last commit must be in the past of its next.
		i := slices.IndexFunc(r.heads, func(h block.ID) bool { return r.Inside([]block.ID{h}, tip) })
		heads[len(heads)-1] = r.heads[i]
	}
	d, err := r.newDrafting(a, heads)
	if err != nil {
		return nil, err
	}
	return d.draft(nil), nil
}

// drafting is a draft in the making.
type drafting struct {
	r       *Replica
	ctx     opContext
	parents []block.ID
	body    body
	table   *actorTable
	works   map[string]*draftDoc
	order   []*draftDoc // as first touched
	roots   map[[32]byte]block.ID
	values  map[[32]byte][]byte
	staged  *staged
	fresh   freshWriter
	failed  error // fails the whole draft
}

// draftDoc is a document under work, with the writes that made it so: if a later
// request fails half way, they are done again from the base.
type draftDoc struct {
	id     string
	w      *work  // nil: nothing is kept, and nothing was done but what fresh says
	fresh  *fresh // the document that a put made of nothing; w goes before
	was    kept   // the base; its entry is what w works on
	log    []Write
	first  [1]Write // of log
	marked int      // length of log when the present request began; −1: not touched by it
	rev    string   // after the draft, if it changes
	staged bool     // it does
}

// work returns the working copy, to which it takes what was done without one.
func (d *drafting) work(x *draftDoc) (*work, error) {
	if x.w != nil {
		return x.w, nil
	}
	x.was.e = &entry{}
	x.w = newWork(x.was.e, d, d.ctx.dot, d.ctx.time)
	if x.fresh == nil {
		return x.w, nil
	}
	return x.w, x.w.put(x.log[0].Body)
}

func (x *draftDoc) visible() bool { return x.w != nil && x.w.visible() || x.w == nil && x.fresh != nil }

func (d *drafting) value(f ref, link *block.ID) ([]byte, error) {
	if b, ok := d.values[f.hash]; ok {
		return b, nil
	}
	return d.r.value(f, link)
}

func (d *drafting) root(f ref, link *block.ID) (block.ID, bool) {
	if id, ok := d.roots[f.hash]; ok {
		return id, ok
	}
	return d.r.root(f, link)
}

func (r *Replica) newDrafting(a Author, heads []block.ID) (*drafting, error) {
	if len(a.TeamHeads) == 0 || len(a.TeamHeads) > MaxTeamHeads || !a.Time.Valid() {
		return nil, fmt.Errorf("author without a time or with %d team heads", len(a.TeamHeads))
	}
	d := &drafting{r: r, parents: heads, table: newActorTable(a.Actor)}
	team := slices.Clone(a.TeamHeads)
	slices.SortFunc(team, compareIDs)
	d.body = body{incarnation: a.Actor.Incarnation, seq: 1, team: slices.Compact(team), time: a.Time, void: r.draftVoid()}
	own := -1
	if n, ok := r.actors[a.Actor]; ok {
		log := r.logs[n]
		last := log.commits[len(log.commits)-1]
		if last.void != "" || len(log.twins) > 0 {
			return nil, fmt.Errorf("%w: commit %s of it is void or has a twin", ErrActor, last.ID)
		}
		d.body.seq, d.body.time = last.Seq+1, max(a.Time, last.Time+1)
		if d.body.seq > maxSeq || !d.body.time.Valid() {
			return nil, fmt.Errorf("%w: its seq or time is at the limit", ErrActor)
		}
		if own = slices.Index(heads, last.ID); own < 0 {
			d.body.prev = last.ID
		}
	}
	if len(heads) > block.MaxParents { // asked after the actor: a merge needs one that may write
		return nil, ErrHeads
	}
	d.ctx = opContext{dot: Dot{a.Actor, d.body.seq}, time: d.body.time}
	if len(heads) > 1 || own < 0 {
		for _, id := range heads {
			p := r.commits[id]
			d.body.parents = append(d.body.parents, parent{d.table.of(p.Actor), p.Seq})
		}
	}
	return d, nil
}

// request runs one request, all or nothing.
func (d *drafting) request(writes []Write) ([]Result, error) {
	for _, x := range d.order {
		x.marked = -1
	}
	results := make([]Result, 0, len(writes))
	for i := range writes {
		res, err := d.write(writes[i])
		if err != nil {
			d.undo()
			return nil, err
		}
		results = append(results, res)
	}
	return results, nil
}

// undo takes back what the present request did.
func (d *drafting) undo() {
	for _, x := range d.order {
		if x.marked < 0 {
			continue
		}
		log := x.log[:x.marked]
		x.log = nil
		err := d.begin(x)
		for _, w := range log {
			if err == nil {
				_, err = d.run(x, w)
			}
		}
		if err != nil && d.failed == nil {
			d.failed = fmt.Errorf("a write that was good is no longer: %w", err)
		}
	}
}

// begin gives a document a fresh working copy, if anything is kept of it.
func (d *drafting) begin(x *draftDoc) error {
	k, err := d.r.load(x.id)
	if err != nil {
		return err
	}
	x.was, x.w, x.fresh = k, nil, nil
	if k.e != nil && (k.alive || !planted.Bug("crdt-new-over-a-deleted")) {
		x.w = newWork(k.e, d, d.ctx.dot, d.ctx.time)
	}
	return nil
}

// write runs one write on its document's working copy.
func (d *drafting) write(w Write) (Result, error) {
	if err := w.complete(); err != nil {
		return Result{}, err
	}
	x, ok := d.works[w.ID]
	if !ok {
		if len(d.works) >= MaxOps {
			return Result{}, fmt.Errorf("more than %d documents in one commit", MaxOps)
		}
		x = &draftDoc{id: w.ID, marked: -1}
		x.log = x.first[:0]
		if err := d.begin(x); err != nil {
			return Result{}, err
		}
		d.works[w.ID] = x
		d.order = append(d.order, x)
	}
	if x.marked < 0 {
		x.marked = len(x.log)
	}
	if err := d.allowed(x, w); err != nil {
		return Result{}, err
	}
	return d.run(x, w)
}

// complete checks what a write says of itself.
func (w *Write) complete() error {
	if id, ok := w.Body[keyID].(string); ok {
		if w.ID == "" {
			w.ID = id
		}
		if w.ID != id {
			return &BadDocError{ID: w.ID, Path: []string{keyID}, Rule: fmt.Sprintf("is %.80q in the body", id)}
		}
	}
	if rev, ok := w.Body[keyRev].(string); ok && w.IfRev == "" {
		w.IfRev = rev
	}
	if err := CheckID(w.ID); err != nil {
		return err
	}
	return named2(w.ID, w.Body.checkReserved())
}

// named2 puts the document's id into an error about it.
func named2(id string, err error) error {
	if bad, ok := err.(*BadDocError); ok && bad.ID == "" {
		bad.ID = id
	}
	return err
}

// allowed checks the conditions of a write.
func (d *drafting) allowed(x *draftDoc, w Write) error {
	if w.IfAbsent && x.visible() {
		return fmt.Errorf("%w: %.80q", ErrExists, w.ID)
	}
	if w.IfRev == "" {
		return nil
	}
	have := ""
	if (x.was.alive || w.Verb == Purge) && x.marked == 0 {
		have = d.r.rev(x.id, &x.was) // not yet touched by an earlier request of this commit
	}
	if have != w.IfRev {
		return &ConflictError{ID: w.ID, Want: w.IfRev, Have: have}
	}
	return nil
}

// run does a write and remembers it.
func (d *drafting) run(x *draftDoc, w Write) (Result, error) {
	if w.Verb == Put && x.w == nil && x.fresh == nil && len(w.Files) == 0 {
		if x.fresh = d.fresh.write(w.Body, &d.ctx); x.fresh != nil {
			x.log = append(x.log, w)
			return Result{ID: w.ID, Changed: true}, nil
		}
	}
	copied, err := d.work(x)
	if err == nil {
		err = d.do(copied, w)
	}
	if err == nil {
		err = d.files(copied, w.Files)
	}
	if err == nil && (w.Verb == Put || w.Verb == Patch || planted.Bug("crdt-too-large-to-delete")) {
		err = d.fits(x, w.Verb)
	}
	if err == nil {
		err = copied.failed
	}
	if err != nil {
		return Result{}, d.explain(w.ID, err)
	}
	x.log = append(x.log, w)
	return Result{ID: w.ID, Changed: copied.touched}, nil
}

// do runs a verb on a working copy.
func (d *drafting) do(x *work, w Write) error {
	switch w.Verb {
	case Put:
		if err := d.sameFiles(x, w.Body); err != nil {
			return err
		}
		return x.put(w.Body)
	case Patch:
		if _, ok := w.Body[keyFiles]; ok {
			return badDoc([]string{keyFiles}, "files are written with file operations")
		}
		return x.patch(w.Body)
	case Delete:
		return x.del()
	case Restore:
		return x.restore()
	case Purge:
		x.purge()
		return nil
	}
	return fmt.Errorf("unknown verb %d", w.Verb)
}

func (d *drafting) explain(id string, err error) error {
	if _, ok := err.(*BadDocError); ok {
		return named2(id, err)
	}
	return fmt.Errorf("%w: %.80q", err, id)
}

// fits refuses a document that is too large. Two edits that fit may together not: such
// a one can be deleted, and patched as long as it gets no larger.
func (d *drafting) fits(x *draftDoc, verb Verb) error {
	if x.w.root.bulk() <= MaxDocument {
		return nil
	}
	v := viewer{stores: d}
	now := Doc(v.document(&x.w.entry))
	err := now.checkSize()
	if err == nil || verb != Patch || !x.was.alive {
		return err
	}
	was, failed := d.r.load(x.id)
	if failed != nil {
		return failed
	}
	if before := Doc(v.document(was.e)); before.size() >= now.size() {
		return nil
	}
	return err
}

// rev returns the revision of a document after the draft.
func (d *drafting) rev(id string) string {
	x, ok := d.works[id]
	switch {
	case !ok:
		return ""
	case x.staged:
		return x.rev
	}
	return d.r.rev(x.id, &x.was)
}
