package api

import (
	"context"
	"errors"
	"maps"
)

// Update is [DB.Update] in terms of Get and Put, for those who implement DB.
func Update(ctx context.Context, db DB, id string, fn func(Doc) (Doc, error)) error {
	for {
		old, err := db.Get(ctx, id)
		cond := Cond{IfRev: old.Rev()}
		if errors.Is(err, ErrNotFound) {
			old, cond, err = nil, Cond{IfAbsent: true}, nil
		}
		if err != nil {
			return err
		}
		d, err := fn(old)
		if err != nil {
			return err
		}
		d = maps.Clone(d)
		if d == nil {
			d = Doc{}
		}
		d["_id"] = id
		delete(d, "_rev") // the condition says it, whatever fn did to the field
		_, err = db.Put(ctx, d, cond)
		if !errors.Is(err, ErrConflict) && !errors.Is(err, ErrExists) {
			return err
		}
		if err := ctx.Err(); err != nil {
			return ErrorOf(err)
		}
	}
}
