package server

import (
	"fmt"
	"iter"
	"net/http"

	"github.com/toftdb/toft/node/api"
)

func (s *Server) health(*http.Request) (health, error) { return health{OK: true}, nil }

func (s *Server) status(r *http.Request) (api.Status, error) { return s.api.Status(r.Context()) }

func (s *Server) identity(r *http.Request) (api.Identity, error) { return s.api.Identity(r.Context()) }

func (s *Server) peers(r *http.Request) iter.Seq2[api.Peer, error] { return s.api.Peers(r.Context()) }

func (s *Server) connect(r *http.Request) (api.Peer, error) {
	d, err := readJSON[dial](r)
	if err != nil {
		return api.Peer{}, err
	}
	return s.api.Connect(r.Context(), d.Addr)
}

func (s *Server) teams(r *http.Request) iter.Seq2[api.TeamInfo, error] {
	return s.api.Teams(r.Context())
}

func (s *Server) createTeam(r *http.Request) (api.TeamInfo, error) {
	n, err := readJSON[newTeam](r)
	if err != nil {
		return api.TeamInfo{}, err
	}
	t, err := s.api.CreateTeam(r.Context(), n.Name)
	if err != nil {
		return api.TeamInfo{}, err
	}
	return t.Info(r.Context())
}

// findTeam opens the team that the path names. "-" stands for no name, which a
// path cannot hold: the only shared team.
func (s *Server) findTeam(r *http.Request) (api.Team, error) {
	name := r.PathValue("team")
	if name == "-" {
		name = ""
	}
	return s.api.Team(r.Context(), name)
}

// withTeam runs a sequence of the team that the path names.
func withTeam[T any](s *Server, r *http.Request, f func(api.Team) iter.Seq2[T, error]) iter.Seq2[T, error] {
	t, err := s.findTeam(r)
	if err != nil {
		return failed[T](err)
	}
	return f(t)
}

// failed is the sequence of an error.
func failed[T any](err error) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var zero T
		yield(zero, err)
	}
}

func (s *Server) team(r *http.Request) (api.TeamInfo, error) {
	t, err := s.findTeam(r)
	if err != nil {
		return api.TeamInfo{}, err
	}
	return t.Info(r.Context())
}

func (s *Server) invites(r *http.Request) iter.Seq2[api.Invite, error] {
	return withTeam(s, r, func(t api.Team) iter.Seq2[api.Invite, error] { return t.Invites(r.Context()) })
}

func (s *Server) invite(r *http.Request) (api.Invite, error) {
	n, err := readJSON[newInvite](r)
	if err != nil {
		return api.Invite{}, err
	}
	t, err := s.findTeam(r)
	if err != nil {
		return api.Invite{}, err
	}
	switch n.Kind {
	case "", "member":
		return t.InviteMember(r.Context(), n.MemberInvite)
	case "device":
		if n.Role != "" || n.MaxUses > 1 {
			return api.Invite{}, api.ErrUsage.With("a device invitation has no role and one use", "")
		}
		return t.InviteDevice(r.Context(), api.DeviceInvite{Expires: n.Expires, Short: n.Short, Seed: n.Seed, AllowWeakSeed: n.AllowWeakSeed})
	case "replica":
		if n.Role != "" || n.Seed != "" {
			return api.Invite{}, api.ErrUsage.With("an invitation for a replica has no role and no seed of one's own", "")
		}
		return t.InviteReplica(r.Context(), api.ReplicaInvite{MaxUses: n.MaxUses, Expires: n.Expires, Short: n.Short})
	}
	return api.Invite{}, api.ErrUsage.With(fmt.Sprintf("%.20q is no kind of invitation", n.Kind), "member, device or replica")
}

func (s *Server) revoke(r *http.Request) error {
	t, err := s.findTeam(r)
	if err != nil {
		return err
	}
	return t.Revoke(r.Context(), r.PathValue("id"))
}

func (s *Server) members(r *http.Request) iter.Seq2[api.Member, error] {
	return withTeam(s, r, func(t api.Team) iter.Seq2[api.Member, error] { return t.Members(r.Context()) })
}

func (s *Server) devices(r *http.Request) iter.Seq2[api.Device, error] {
	member := r.URL.Query().Get("member")
	return withTeam(s, r, func(t api.Team) iter.Seq2[api.Device, error] { return t.Devices(r.Context(), member) })
}

func (s *Server) chain(r *http.Request) iter.Seq2[api.ChainLink, error] {
	return withTeam(s, r, func(t api.Team) iter.Seq2[api.ChainLink, error] { return t.Log(r.Context()) })
}

func (s *Server) join(r *http.Request) (api.Joined, error) {
	j, err := readJSON[api.JoinRequest](r)
	if err != nil {
		return api.Joined{}, err
	}
	return s.api.Join(r.Context(), j)
}
