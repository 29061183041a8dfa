package crdt

import (
	"fmt"
	"maps"
	"slices"

	"github.com/toftdb/toft/block"
)

// sameFiles refuses a put whose "_files" differ from what the document shows: a
// file cannot be written by naming it.
func (d *drafting) sameFiles(w *work, body Doc) error {
	given, ok := body[keyFiles]
	if !ok {
		return nil
	}
	v := viewer{stores: d}
	var have any = map[string]any{}
	if n := w.root.find(keyFiles); n != nil && w.visible() {
		if s := v.node(n); s.present {
			have = s.value
		}
	}
	a, err := EncodeValue(given)
	if err != nil {
		return err
	}
	if b, err := EncodeValue(have); err != nil || string(a) != string(b) {
		return badDoc([]string{keyFiles}, "differs from the document's files; they are written with file operations")
	}
	return nil
}

// files sets and removes files.
func (d *drafting) files(w *work, files map[string]*File) error {
	if len(files) == 0 {
		return nil
	}
	n := w.root.child(keyFiles)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		path := []string{keyFiles, name}
		if err := checkKey(name, path); err != nil {
			return err
		}
		f := files[name]
		if f == nil {
			if kid := n.find(name); kid != nil {
				w.remove(kid)
			}
			continue
		}
		if f.Root.IsZero() || f.Hash == [32]byte{} || f.Size > maxSeq || len(f.Type) > maxFileText || !f.Modified.Valid() {
			return badDoc(path, "file without root, hash or time, or with a type of more than %d bytes", maxFileText)
		}
		if d.roots == nil {
			d.roots = map[[32]byte]block.ID{}
		}
		d.roots[f.Hash] = f.Root
		c := ref{hash: f.Hash, size: f.Size, file: true, mime: f.Type, modified: f.Modified, link: noLink}
		if err := w.leaf(n.child(name), c.append(nil)); err != nil {
			return err
		}
	}
	w.touchIfChanged()
	return nil
}

// finish turns the working copies into one commit. They are the new entries
// already; the operations are for everybody else.
func (d *drafting) finish() (*Draft, error) {
	if d.failed != nil {
		return nil, d.failed
	}
	ops := make([]op, 0, len(d.order))
	changed := make([]*draftDoc, 0, len(d.order))
	for _, x := range d.order {
		var o *op
		switch {
		case x.w != nil:
			o = x.w.op(x.id, d.table)
		case x.fresh != nil:
			o = &op{id: x.id, fresh: x.fresh}
		}
		if o != nil {
			ops, changed = append(ops, *o), append(changed, x)
		}
	}
	if len(ops) == 0 {
		return nil, nil
	}
	links, err := d.outOfLine(ops)
	if err != nil {
		return nil, err
	}
	d.number(ops)
	blocks, err := d.encodeOps(ops)
	if err != nil {
		return nil, err
	}
	d.staged = &staged{acc: d.r.acc, updates: make([]update, 0, len(ops))}
	for _, x := range changed {
		d.stage(x)
	}
	d.body.digest, d.body.hasDigest = d.staged.acc.digest(), true
	if len(blocks) == 0 && !d.staged.unsealed {
		d.staged.drafted = &drafted{ctx: d.ctx, parents: d.parents, ops: d.body.ops}
		d.r.pending = d.staged
	}
	return d.draft(append(blocks, links...)), nil
}

// stage notes the new entry of a document and its revision.
func (d *drafting) stage(x *draftDoc) {
	n := len(d.staged.updates)
	if x.w == nil {
		d.r.stageFresh(d.staged, x.id, x.fresh.entry)
	} else {
		d.r.stageEntry(d.staged, x.id, &x.was, x.w.result())
	}
	if x.staged = len(d.staged.updates) > n; x.staged {
		x.rev = d.staged.updates[n].rev
	}
}

// number sorts the actor table and renumbers what names it.
func (d *drafting) number(ops []op) {
	to := d.table.sort()
	d.ctx.actors = d.table.list
	for i := range d.body.parents {
		d.body.parents[i].actor = to[d.body.parents[i].actor]
	}
	for i := range ops {
		ops[i].renumber(to)
	}
}

// draft encodes the commit.
func (d *drafting) draft(links []Linked) *Draft {
	if d.ctx.actors == nil {
		d.number(nil)
	}
	d.body.actors = d.table.list[1:]
	return &Draft{Parents: d.parents, Links: links, Plain: d.body.encode(), Seq: d.body.seq, Time: d.body.time, body: &d.body}
}

// outOfLine collects what the operations link, values before files, each once. Link numbers count from the first value.
func (d *drafting) outOfLine(ops []op) (links []Linked, err error) {
	at := map[[32]byte]int{}
	for _, files := range []bool{false, true} {
		for i := range ops {
			for j := range ops[i].sets {
				s := &ops[i].sets[j]
				if !s.val.ref() || s.val.file() != files {
					continue
				}
				f := s.val.parseRef()
				k, ok := at[f.hash]
				if !ok {
					l, err := d.linked(f, s.from)
					if err != nil {
						return nil, fmt.Errorf("document %.80q: %w", ops[i].id, err)
					}
					k = len(links)
					links, at[f.hash] = append(links, l), k
				}
				s.link = k
			}
		}
		if !files {
			d.body.values = len(links)
		}
	}
	if len(links)+MaxOpBlocks > maxLinks {
		return nil, fmt.Errorf("more than %d large values and files in one commit: write in smaller batches", maxLinks-MaxOpBlocks)
	}
	return links, nil
}

// linked returns the block behind a reference.
func (d *drafting) linked(f ref, from *block.ID) (Linked, error) {
	if f.file {
		id, ok := d.root(f, from)
		if !ok {
			return Linked{}, fmt.Errorf("the blocks of a file are not known here")
		}
		return Linked{Kind: block.KindManifest, ID: id}, nil
	}
	b, err := d.value(f, from)
	if err != nil {
		return Linked{}, err
	}
	return Linked{Kind: block.KindValue, Plain: b}, nil
}

// keep moves a large value out of line.
func (d *drafting) keep(value []byte) cell {
	f := ref{hash: d.r.keys.ValueHash(value), size: uint64(len(value)), link: noLink}
	if d.values == nil {
		d.values = map[[32]byte][]byte{}
	}
	d.values[f.hash] = value
	return f.append(nil)
}

// encodeOps writes the operation list: inline, or in linked blocks. How many there
// are shifts the link numbers inside them, so it tries until both agree.
func (d *drafting) encodeOps(ops []op) ([]Linked, error) {
	given := make([][]int, len(ops))
	for i := range ops {
		for j := range ops[i].sets {
			given[i] = append(given[i], ops[i].sets[j].link)
		}
	}
	renumber := func(opBlocks int) {
		for i := range ops {
			for j, n := range given[i] {
				if n != noLink {
					ops[i].sets[j].link = n + opBlocks
				}
			}
		}
	}
	renumber(0)
	list := appendHead(nil, majorArray, uint64(len(ops)))
	for i := range ops {
		if list = ops[i].append(list); len(list) > MaxInlineOps {
			break
		}
	}
	if len(list) <= MaxInlineOps {
		d.body.ops = list
		return nil, nil
	}
	for n := 1; ; {
		renumber(n)
		blocks, err := splitOps(ops)
		if err != nil {
			return nil, err
		}
		if len(blocks) <= n {
			d.body.opBlocks = len(blocks)
			if len(blocks) < n {
				return nil, fmt.Errorf("operations do not settle into blocks")
			}
			return blocks, nil
		}
		n = len(blocks)
	}
}

// splitOps fills operation blocks one after another.
func splitOps(ops []op) (blocks []Linked, err error) {
	var body []byte
	count := 0
	flush := func() {
		if count > 0 {
			plain := append(appendHead(nil, majorArray, uint64(count)), body...)
			blocks = append(blocks, Linked{Kind: block.KindOps, Plain: plain})
			body, count = nil, 0
		}
	}
	for i := range ops {
		one := ops[i].append(nil)
		if len(one) > maxPlain-16 {
			return nil, &BadDocError{ID: ops[i].id, Rule: "too much changes at once for one block"}
		}
		if len(body)+len(one) > opBlockSize {
			flush()
		}
		body, count = append(body, one...), count+1
	}
	if flush(); len(blocks) > MaxOpBlocks {
		return nil, fmt.Errorf("batch of %d blocks, at most %d: write in smaller batches", len(blocks), MaxOpBlocks)
	}
	return blocks, nil
}
