package server

import (
	"net/http"

	"github.com/toftdb/toft/node/api"
)

// inTeam reads a request and runs it on the team that the path names.
func inTeam[Q, R any](s *Server, r *http.Request, f func(api.Team, Q) (R, error)) (R, error) {
	var zero R
	q, err := readJSON[Q](r)
	if err != nil {
		return zero, err
	}
	t, err := s.findTeam(r)
	if err != nil {
		return zero, err
	}
	return f(t, q)
}

// nothing is the result of what has none.
type nothing struct{}

func (s *Server) renameTeam(r *http.Request) error {
	_, err := inTeam(s, r, func(t api.Team, q newName) (nothing, error) {
		return nothing{}, t.Rename(r.Context(), q.Name)
	})
	return err
}

func (s *Server) setRole(r *http.Request) error {
	_, err := inTeam(s, r, func(t api.Team, q newRole) (nothing, error) {
		return nothing{}, t.SetRole(r.Context(), q.Member, q.Role)
	})
	return err
}

func (s *Server) adopt(r *http.Request) error {
	_, err := inTeam(s, r, func(t api.Team, q ofDevice) (nothing, error) {
		return nothing{}, t.Adopt(r.Context(), q.Device)
	})
	return err
}

func (s *Server) remove(r *http.Request) (api.Removal, error) {
	return inTeam(s, r, func(t api.Team, q api.RemoveRequest) (api.Removal, error) { return t.Remove(r.Context(), q) })
}

func (s *Server) shareWith(r *http.Request) (api.Shared, error) {
	return inTeam(s, r, func(t api.Team, q api.ShareRequest) (api.Shared, error) { return t.ShareWith(r.Context(), q) })
}

func (s *Server) leave(r *http.Request) error {
	t, err := s.findTeam(r)
	if err != nil {
		return err
	}
	return t.Leave(r.Context())
}

func (s *Server) rotate(r *http.Request) (api.TeamInfo, error) {
	t, err := s.findTeam(r)
	if err != nil {
		return api.TeamInfo{}, err
	}
	return t.Rotate(r.Context())
}

func (s *Server) verifyTeam(r *http.Request) (api.VerifyReport, error) {
	t, err := s.findTeam(r)
	if err != nil {
		return api.VerifyReport{}, err
	}
	return t.Verify(r.Context())
}

func (s *Server) renameDB(r *http.Request) error {
	q, err := readJSON[newName](r)
	if err != nil {
		return err
	}
	db, err := s.findDB(r)
	if err != nil {
		return err
	}
	return db.Rename(r.Context(), q.Name)
}

func (s *Server) moveDB(r *http.Request) (api.DBInfo, error) {
	q, err := readJSON[toTeam](r)
	if err != nil {
		return api.DBInfo{}, err
	}
	db, err := s.findDB(r)
	if err != nil {
		return api.DBInfo{}, err
	}
	return db.Move(r.Context(), q.Team)
}

func (s *Server) dropDB(r *http.Request) error {
	db, err := s.findDB(r)
	if err != nil {
		return err
	}
	return db.Drop(r.Context())
}

func (s *Server) recoveryKit(r *http.Request) (api.RecoveryKit, error) {
	return s.api.RecoveryKit(r.Context())
}

func (s *Server) forgetRecovery(r *http.Request) error { return s.api.ForgetRecovery(r.Context()) }

func (s *Server) recover(r *http.Request) (api.Joined, error) {
	q, err := readJSON[api.RecoverRequest](r)
	if err != nil {
		return api.Joined{}, err
	}
	return s.api.Recover(r.Context(), q)
}

func (s *Server) lockKeys(r *http.Request) error {
	q, err := readJSON[passphrase](r)
	if err != nil {
		return err
	}
	return s.api.LockKeys(r.Context(), q.Passphrase)
}

func (s *Server) unlockKeys(r *http.Request) error {
	q, err := readJSON[passphrase](r)
	if err != nil {
		return err
	}
	return s.api.UnlockKeys(r.Context(), q.Passphrase)
}
