package vault

import (
	"fmt"

	"github.com/toftdb/toft/block"
)

// announceData is the associated data of an announcement. Its context keeps it
// apart from every header, which starts with a CBOR map.
func announceData(team block.TeamID, gen block.Generation) []byte {
	a := make([]byte, 0, len(block.ForAnnounce)+64)
	a = append(a, block.ForAnnounce...)
	a = append(a, team[:]...)
	return append(a, gen[:]...)
}

// SealMessage seals an announcement to everybody who holds the route key of a
// generation, replicas too: K = announce pair, A = "toft/v1/announce" ‖ team ‖
// generation.
func (k *Keyring) SealMessage(team block.TeamID, gen block.Generation, plain []byte) ([]byte, error) {
	g, err := k.find(name{team, gen}, false)
	if err != nil {
		return nil, fmt.Errorf("seal announcement: %w", err)
	}
	return g.announce().seal(announceData(team, gen), plain)
}

// OpenMessage is the inverse of SealMessage: ErrNoKey or ErrSealed.
func (k *Keyring) OpenMessage(team block.TeamID, gen block.Generation, sealed []byte) ([]byte, error) {
	g, err := k.find(name{team, gen}, false)
	if err != nil {
		return nil, fmt.Errorf("open announcement: %w", err)
	}
	return g.announce().open(announceData(team, gen), sealed)
}

// Topic returns the GossipSub topic of a generation: 52 characters of lower-case
// base32, which say nothing to those who lack the route key.
func (k *Keyring) Topic(team block.TeamID, gen block.Generation) (string, error) {
	g, err := k.find(name{team, gen}, false)
	if err != nil {
		return "", fmt.Errorf("topic: %w", err)
	}
	return g.topic(), nil
}
