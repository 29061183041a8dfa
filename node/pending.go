package node

import (
	"context"

	"github.com/toftdb/toft/node/api"
)

func (t *teamDoor) ShareWith(context.Context, api.ShareRequest) (api.Shared, error) {
	return api.Shared{}, api.ErrFailed.With("share tokens are being built", "")
}

func (t *teamDoor) Verify(context.Context) (api.VerifyReport, error) {
	return api.VerifyReport{}, api.ErrFailed.With("verify is being built", "")
}

func (b *dbDoor) Move(context.Context, string) (api.DBInfo, error) {
	return api.DBInfo{}, api.ErrFailed.With("moving is being built", "")
}

func (b *dbDoor) Drop(context.Context) error {
	return api.ErrFailed.With("dropping is being built", "")
}

