package notify

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/jose"
	"github.com/onbehalf/obo/store"
)

// The types of messages.
const (
	TypeStatusChanged = "connection.status_changed"
	TypeTest          = "webhook.test"
)

// maxReason is the most that is told of why a status changed.
const maxReason = 512

// message is what is posted.
type message struct {
	id   string // the same each time that it is sent
	body []byte
}

// envelope is the payload that the specification recommends.
type envelope struct {
	Type      string    `json:"type"`
	Timestamp time.Time `json:"timestamp"` // of the event
	Data      any       `json:"data"`
}

// changed are the data of connection.status_changed. No account's name at the provider is among them, and no part of a secret.
type changed struct {
	Org        delegation.OrgID `json:"org_id"`
	Sequence   uint64           `json:"sequence"`
	Connection string           `json:"connection"`
	Provider   string           `json:"provider"`
	Subject    string           `json:"subject"`
	OldStatus  string           `json:"old_status"`
	NewStatus  string           `json:"new_status"`
	Reason     string           `json:"reason"`
}

// messageOf is an event as it is posted. The id is made of what happened and not of the number alone: a database that was
// restored gives numbers again, to other events, and a receiver that drops repeats must not drop those. Nor is it made of the
// body, which another version of ours may write otherwise.
func messageOf(org delegation.OrgID, e store.ConnectionEvent) (message, error) {
	body, err := jose.Encode(envelope{TypeStatusChanged, e.Time.UTC(), changed{
		Org: org, Sequence: e.Sequence, Connection: e.Connection, Provider: e.Provider, Subject: e.Subject,
		OldStatus: e.Before, NewStatus: e.After, Reason: strings.ToValidUTF8(e.Reason[:min(len(e.Reason), maxReason)], ""),
	}})
	sum := sha256.Sum256(fmt.Appendf(nil, "%s|%d|%s|%s|%s|%d", org, e.Sequence, e.Connection, e.Before, e.After, e.Time.UnixMicro()))
	return message{id: fmt.Sprintf("evt_%d_%s", e.Sequence, hex.EncodeToString(sum[:12])), body: body}, err
}

// testMessage is for an administrator to see that a webhook works.
func testMessage(org delegation.OrgID, now time.Time) (message, error) {
	body, err := jose.Encode(envelope{TypeTest, now.UTC(), struct {
		Org delegation.OrgID `json:"org_id"`
	}{org}})
	return message{id: "test_" + rand.Text(), body: body}, err
}
