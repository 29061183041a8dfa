package api

import (
	"context"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

func (d *clientDB) Sync(ctx context.Context, wait bool) iter.Seq2[SyncEvent, error] {
	q := url.Values{}
	setFlag(q, "wait", wait)
	return readLines[SyncEvent](ctx, d.c, http.MethodPost, d.path("sync")+"?"+q.Encode(), nil)
}

func (d *clientDB) Explain(ctx context.Context, id string) (Explain, error) {
	return call[Explain](ctx, d.c, http.MethodGet, d.path("explain")+"?id="+url.QueryEscape(id), nil, nil)
}

// Headers that ask a write to wait for other devices.
const (
	headerDurable = "Toft-Durable" // how many
	headerWait    = "Toft-Wait"    // how long, as in 10s
)

// setDurable writes how many devices a write waits for. The daemon is given a little
// less time than the caller has, so that it can say who is missing.
func setDurable(ctx context.Context, h http.Header, c Cond) {
	if c.Durable == 0 {
		return
	}
	h.Set(headerDurable, strconv.Itoa(c.Durable))
	if end, ok := ctx.Deadline(); ok {
		left := time.Until(end)
		h.Set(headerWait, max(left-max(left/10, 200*time.Millisecond), 0).String())
	}
}

// DurableOf reads what a request says of waiting for other devices: how many, and
// for how long, 0 if it does not say.
func DurableOf(h http.Header) (devices int, wait time.Duration, err error) {
	if s := h.Get(headerDurable); s != "" {
		if devices, err = strconv.Atoi(s); err != nil || devices < 0 {
			return 0, 0, ErrUsage.With("Toft-Durable is a number of devices", "")
		}
	}
	if s := h.Get(headerWait); s != "" {
		if wait, err = time.ParseDuration(s); err != nil || wait < 0 {
			return 0, 0, ErrUsage.With("Toft-Wait is a duration, as in 10s", "")
		}
	}
	return devices, wait, nil
}
