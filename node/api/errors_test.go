package api

import (
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// sentinels is every problem. TestSentinelsAreListed keeps it whole.
func sentinels() map[string]*Error {
	return map[string]*Error{
		"ErrFailed": ErrFailed, "ErrDiskFull": ErrDiskFull, "ErrFormat": ErrFormat, "ErrClosed": ErrClosed,
		"ErrBusy": ErrBusy, "ErrPartial": ErrPartial, "ErrNotFound": ErrNotFound, "ErrConflict": ErrConflict,
		"ErrExists": ErrExists, "ErrCompacted": ErrCompacted, "ErrForbidden": ErrForbidden, "ErrVerify": ErrVerify,
		"ErrInviteInvalid": ErrInviteInvalid, "ErrInviteUnknown": ErrInviteUnknown,
		"ErrInviteExpired": ErrInviteExpired, "ErrInviteUsed": ErrInviteUsed,
		"ErrInviteRevoked": ErrInviteRevoked, "ErrInviteSeed": ErrInviteSeed,
		"ErrUnreachable": ErrUnreachable, "ErrTimeout": ErrTimeout, "ErrNoDaemon": ErrNoDaemon,
		"ErrNotInitialised": ErrNotInitialised, "ErrStoreLocked": ErrStoreLocked, "ErrKeyLocked": ErrKeyLocked,
		"ErrHealth": ErrHealth, "ErrUsage": ErrUsage, "ErrMethod": ErrMethod, "ErrBadDocument": ErrBadDocument,
		"ErrTooLarge": ErrTooLarge, "ErrInterrupted": ErrInterrupted,
	}
}

func TestSentinelsAreListed(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "errors.go", nil, 0)
	require.NoError(t, err)
	known := sentinels()
	ast.Inspect(file, func(n ast.Node) bool {
		if v, ok := n.(*ast.ValueSpec); ok && strings.HasPrefix(v.Names[0].Name, "Err") {
			require.Contains(t, known, v.Names[0].Name)
		}
		return true
	})
}

func TestEveryProblemHasItsOwnTypeAndACodeOfTheTable(t *testing.T) {
	codes := map[int]bool{1: true, 3: true, 4: true, 5: true, 6: true, 7: true, 8: true, 9: true, 10: true, 11: true, 12: true, 13: true, 14: true, 64: true, 130: true}
	types := map[string]string{}
	for name, e := range sentinels() {
		require.Empty(t, types[e.Type], "%s and %s", name, types[e.Type])
		types[e.Type] = name
		require.True(t, strings.HasPrefix(e.Type, "toft:"))
		require.True(t, codes[e.Code], name)
		require.True(t, e.Status >= 200 && e.Status < 600, name)
		require.NotEmpty(t, e.Title)
		for other, o := range sentinels() {
			require.Equal(t, name == other, errors.Is(e.With("x", ""), o))
		}
	}
}

func TestProblemsAreDocumented(t *testing.T) {
	text, err := os.ReadFile("../../docs/cli.md")
	require.NoError(t, err)
	for name, e := range sentinels() {
		row := regexp.MustCompile(fmt.Sprintf("(?m)^\\| %d \\|.*`%s` \\(%d\\)", e.Code, e.Type, e.Status))
		require.Regexp(t, row, string(text), name)
	}
}

func TestProblemSurvivesTheTrip(t *testing.T) {
	cause := errors.New("disk 7")
	e := fmt.Errorf("put notes/x: %w", ErrConflict.Wrap(cause, "read it again"))
	require.ErrorIs(t, e, cause)
	text, err := Marshal(ErrorOf(e))
	require.NoError(t, err)
	require.JSONEq(t, `{"type":"toft:conflict","title":"somebody else wrote in between","status":409,"code":5,"detail":"put notes/x: disk 7","hint":"read it again"}`, string(text))
	back := parseProblem(text, "")
	require.ErrorIs(t, back, ErrConflict)
	require.Equal(t, "put notes/x: disk 7", back.Error())
	require.ErrorIs(t, parseProblem([]byte("<html>"), "502"), ErrFailed)
}

func TestErrorOf(t *testing.T) {
	require.Nil(t, ErrorOf(nil))
	require.Equal(t, 9, ErrorOf(fmt.Errorf("x: %w", context.DeadlineExceeded)).Code)
	require.Equal(t, 130, ErrorOf(context.Canceled).Code)
	require.Equal(t, 1, ErrorOf(errors.New("x")).Code)
	require.Equal(t, "not found", ErrNotFound.Error())
}

func TestJoinConds(t *testing.T) {
	c, err := JoinConds([]Cond{{IfRev: "1-a"}, {}, {IfRev: "1-a"}})
	require.NoError(t, err)
	require.Equal(t, Cond{IfRev: "1-a"}, c)
	_, err = JoinConds([]Cond{{IfRev: "1-a"}, {IfRev: "1-b"}})
	require.ErrorIs(t, err, ErrUsage)
	_, err = JoinConds([]Cond{{IfRev: "1-a"}, {IfAbsent: true}})
	require.ErrorIs(t, err, ErrUsage)
}
