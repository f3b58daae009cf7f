package storetest

import (
	"maps"
	"testing"
	"time"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/store"
)

// testSTSApart proves of every method of the org handle, listed by reflection, that it neither shows nor changes another
// org's data. Both orgs use the same names and ids throughout.
func testSTSApart[O STSOrg](t *testing.T, s, _ STS[O]) {
	secret := store.ClientSecret{Agent: "same", Hash: key(1), Created: at(1)}
	entry := store.Revocation{Kind: "token", ID: "same", Before: at(1), Until: at(9)}
	all := store.AuditQuery{Limit: 10}
	credential := store.SignalCredential{Stream: "same", Endpoint: "https://a.test", Sealed: []byte("s"), Created: at(1)}
	poll := store.SignalPoll{Stream: "same", Holder: "a", Until: at(9), Succeeded: at(1), Failed: at(2), Failure: "away"}
	cases := map[string]func(t *testing.T, mine, theirs O, their delegation.OrgID){
		"Config": func(t *testing.T, mine, theirs O, _ delegation.OrgID) {
			ok(t, theirs.PutConfig(t.Context(), store.OrgConfig{Version: 1}))
			_, err := mine.Config(t.Context())
			is(t, err, store.ErrNotFound)
		},
		"PutConfig": func(t *testing.T, mine, theirs O, their delegation.OrgID) {
			ok(t, theirs.PutConfig(t.Context(), store.OrgConfig{Version: 1, Document: []byte("theirs")}))
			is(t, mine.PutConfig(t.Context(), store.OrgConfig{Version: 2}), store.ErrConflict) // versions are an org's own
			ok(t, mine.PutConfig(t.Context(), store.OrgConfig{Version: 1, Document: []byte("mine")}))
			if mine.PutConfig(t.Context(), store.OrgConfig{Org: their, Version: 2}) == nil {
				t.Error("a record of another org was accepted")
			}
			equal(t, string(got(theirs.Config(t.Context()))(t).Document), "theirs")
			equal(t, string(got(mine.Config(t.Context()))(t).Document), "mine")
		},
		"ClientSecrets": func(t *testing.T, mine, theirs O, _ delegation.OrgID) {
			ok(t, theirs.PutClientSecret(t.Context(), secret, 1))
			equal(t, got(mine.ClientSecrets(t.Context()))(t), nil)
		},
		"PutClientSecret": func(t *testing.T, mine, theirs O, _ delegation.OrgID) {
			ok(t, theirs.PutClientSecret(t.Context(), secret, 1))
			ok(t, mine.PutClientSecret(t.Context(), secret, 1)) // the same hash is no conflict with another org's
			ok(t, mine.PutClientSecret(t.Context(), store.ClientSecret{Agent: "same", Hash: key(2)}, 1))
			equal(t, got(theirs.ClientSecrets(t.Context()))(t), []store.ClientSecret{secret}) // nor does keep reach it
		},
		"PutActivity": func(t *testing.T, mine, theirs O, _ delegation.OrgID) {
			ok(t, theirs.PutActivity(t.Context(), map[string]time.Time{"same": at(1)}))
			ok(t, mine.PutActivity(t.Context(), map[string]time.Time{"same": at(2)}))
			equal(t, got(theirs.Activity(t.Context()))(t), []store.Activity{{Agent: "same", Last: at(1)}})
		},
		"Activity": func(t *testing.T, mine, theirs O, _ delegation.OrgID) {
			ok(t, theirs.PutActivity(t.Context(), map[string]time.Time{"same": at(1)}))
			equal(t, got(mine.Activity(t.Context()))(t), nil)
		},
		"PutSignalCredential": func(t *testing.T, mine, theirs O, _ delegation.OrgID) {
			ok(t, theirs.PutSignalCredential(t.Context(), credential))
			ok(t, mine.PutSignalCredential(t.Context(), store.SignalCredential{Stream: "same"}))
			equal(t, got(theirs.SignalCredentials(t.Context()))(t), []store.SignalCredential{credential})
		},
		"ResealSignalCredential": func(t *testing.T, mine, theirs O, _ delegation.OrgID) {
			ok(t, theirs.PutSignalCredential(t.Context(), credential))
			is(t, mine.ResealSignalCredential(t.Context(), "same", credential.Sealed, []byte("mine")), store.ErrConflict)
			ok(t, mine.PutSignalCredential(t.Context(), credential))
			ok(t, mine.ResealSignalCredential(t.Context(), "same", credential.Sealed, []byte("mine")))
			equal(t, got(theirs.SignalCredentials(t.Context()))(t), []store.SignalCredential{credential})
		},
		"SignalCredentials": func(t *testing.T, mine, theirs O, _ delegation.OrgID) {
			ok(t, theirs.PutSignalCredential(t.Context(), credential))
			equal(t, got(mine.SignalCredentials(t.Context()))(t), nil)
		},
		"PutSignalPoll": func(t *testing.T, mine, theirs O, _ delegation.OrgID) {
			ok(t, theirs.PutSignalPoll(t.Context(), poll, at(1)))
			ok(t, mine.PutSignalPoll(t.Context(), store.SignalPoll{Stream: "same", Holder: "other", Until: at(9)}, at(1)))
			equal(t, got(theirs.SignalPolls(t.Context()))(t), []store.SignalPoll{poll})
		},
		"SignalPolls": func(t *testing.T, mine, theirs O, _ delegation.OrgID) {
			ok(t, theirs.PutSignalPoll(t.Context(), poll, at(1)))
			equal(t, got(mine.SignalPolls(t.Context()))(t), nil)
		},
		"Consume": func(t *testing.T, mine, theirs O, _ delegation.OrgID) {
			ok(t, theirs.Consume(t.Context(), key(1), at(1)))
			ok(t, mine.Consume(t.Context(), key(1), at(1))) // one org cannot use up another's assertion
			is(t, mine.Consume(t.Context(), key(1), at(1)), store.ErrConflict)
		},
		"Revoke": func(t *testing.T, mine, theirs O, their delegation.OrgID) {
			got(mine.Revoke(t.Context(), entry))(t)
			named := entry
			named.Org = their
			if _, err := mine.Revoke(t.Context(), named); err == nil {
				t.Error("a record of another org was accepted")
			}
			equal(t, got(theirs.Revocations(t.Context(), at(0)))(t), nil)
			equal(t, len(got(mine.Revocations(t.Context(), at(0)))(t)), 1)
		},
		"Revocations": func(t *testing.T, mine, theirs O, _ delegation.OrgID) {
			got(theirs.Revoke(t.Context(), entry))(t)
			equal(t, got(mine.Revocations(t.Context(), at(0)))(t), nil)
		},
		"RevocationsPage": func(t *testing.T, mine, theirs O, _ delegation.OrgID) {
			sequence := got(theirs.Revoke(t.Context(), entry))(t)
			equal(t, got(mine.RevocationsPage(t.Context(), sequence-1, at(0), 10))(t), nil)
		},
		"AuditRecords": func(t *testing.T, mine, theirs O, their delegation.OrgID) {
			ok(t, s.AppendAudit(t.Context(), []store.AuditRecord{
				{Org: their, ActionID: "same.x", Transaction: "same"}, {Org: their, ActionID: "admin"},
			}))
			equal(t, got(mine.AuditRecords(t.Context(), all))(t), nil)
			for _, action := range []string{"same", "same.x", "admin"} {
				equal(t, got(mine.AuditRecords(t.Context(), store.AuditQuery{Action: action, Limit: 10}))(t), nil)
				equal(t, len(got(theirs.AuditRecords(t.Context(), store.AuditQuery{Action: action, Limit: 10}))(t)), 1)
			}
		},
	}
	maps.Copy(cases, directoryApart[O]())
	covered[O](t, cases)
	for name, f := range cases {
		t.Run(name, func(t *testing.T) {
			mine, their := delegation.OrgID(name+"-mine"), delegation.OrgID(name+"-theirs")
			f(t, s.Org(mine), s.Org(their), their)
		})
	}
}

// testExecutorApart is testSTSApart for the executor's store.
func testExecutorApart[O ExecutorOrg](t *testing.T, e, _ Executor[O]) {
	provider := []store.ProviderRecord{{Name: "same", Text: []byte("theirs")}}
	theirKey := store.DataKey{Sealed: []byte("theirs"), Version: 1}
	cases := map[string]func(t *testing.T, mine, theirs O, their delegation.OrgID){
		"DataKey": func(t *testing.T, mine, theirs O, _ delegation.OrgID) {
			ok(t, theirs.CreateDataKey(t.Context(), theirKey))
			_, err := mine.DataKey(t.Context())
			is(t, err, store.ErrNotFound)
		},
		"CreateDataKey": func(t *testing.T, mine, theirs O, _ delegation.OrgID) {
			ok(t, theirs.CreateDataKey(t.Context(), theirKey))
			ok(t, mine.CreateDataKey(t.Context(), store.DataKey{Sealed: []byte("mine"), Version: 1}))
			equal(t, got(theirs.DataKey(t.Context()))(t), theirKey)
		},
		"ResealDataKey": func(t *testing.T, mine, theirs O, _ delegation.OrgID) {
			ok(t, theirs.CreateDataKey(t.Context(), theirKey))
			is(t, mine.ResealDataKey(t.Context(), theirKey.Sealed, []byte("mine")), store.ErrConflict)
			ok(t, mine.CreateDataKey(t.Context(), theirKey))
			ok(t, mine.ResealDataKey(t.Context(), theirKey.Sealed, []byte("mine")))
			equal(t, got(theirs.DataKey(t.Context()))(t), theirKey)
		},
		"DropDataKey": func(t *testing.T, mine, theirs O, _ delegation.OrgID) {
			c := connection("same", 1)
			prefix := sealedBy(&c, 1)
			ok(t, theirs.CreateDataKey(t.Context(), theirKey))
			is(t, mine.DropDataKey(t.Context(), theirKey.Sealed, []byte("mine"), prefix), store.ErrConflict)
			ok(t, mine.CreateDataKey(t.Context(), theirKey))
			ok(t, theirs.PutConnection(t.Context(), c, c.Status)) // does not hold mine up
			ok(t, mine.DropDataKey(t.Context(), theirKey.Sealed, []byte("mine"), prefix))
			equal(t, got(theirs.DataKey(t.Context()))(t), theirKey)
			c.Version = 2
			ok(t, theirs.PutConnection(t.Context(), c, c.Status)) // nor is what mine has dropped dropped of theirs
		},
		"DeleteDataKey": func(t *testing.T, mine, theirs O, _ delegation.OrgID) {
			ok(t, theirs.CreateDataKey(t.Context(), theirKey))
			is(t, mine.DeleteDataKey(t.Context()), store.ErrNotFound)
			ok(t, mine.CreateDataKey(t.Context(), store.DataKey{}))
			ok(t, mine.DeleteDataKey(t.Context()))
			equal(t, got(theirs.DataKey(t.Context()))(t), theirKey)
		},
		"Connection": func(t *testing.T, mine, theirs O, _ delegation.OrgID) {
			ok(t, theirs.PutConnection(t.Context(), connection("same", 1), ""))
			_, err := mine.Connection(t.Context(), "same")
			is(t, err, store.ErrNotFound)
		},
		"Connections": func(t *testing.T, mine, theirs O, _ delegation.OrgID) {
			ok(t, theirs.PutConnection(t.Context(), connection("same", 1), ""))
			equal(t, got(mine.Connections(t.Context(), "", 10))(t), nil)
		},
		"ConnectionsFor": func(t *testing.T, mine, theirs O, _ delegation.OrgID) {
			shared := connection("shared", 1)
			shared.Subject = ""
			own := connection("same", 1)
			ok(t, theirs.PutConnection(t.Context(), own, ""))
			ok(t, theirs.PutConnection(t.Context(), shared, ""))
			equal(t, got(mine.ConnectionsFor(t.Context(), own.Provider, own.Subject))(t), nil)
			equal(t, len(got(theirs.ConnectionsFor(t.Context(), own.Provider, own.Subject))(t)), 2)
		},
		"PutConnection": func(t *testing.T, mine, theirs O, _ delegation.OrgID) {
			ok(t, theirs.PutConnection(t.Context(), connection("same", 1), ""))
			is(t, mine.PutConnection(t.Context(), connection("same", 2), ""), store.ErrConflict)
			ok(t, mine.PutConnection(t.Context(), connection("same", 1), ""))
			ok(t, mine.PutConnection(t.Context(), connection("same", 2), ""))
			equal(t, got(theirs.Connection(t.Context(), "same"))(t), connection("same", 1))
		},
		"DeleteConnection": func(t *testing.T, mine, theirs O, _ delegation.OrgID) {
			ok(t, theirs.PutConnection(t.Context(), connection("same", 1), ""))
			is(t, mine.DeleteConnection(t.Context(), "same", 0, at(9)), store.ErrNotFound)
			is(t, mine.DeleteConnection(t.Context(), "same", 1, at(9)), store.ErrNotFound) // and no conflict, which would tell that it is there
			ok(t, mine.PutConnection(t.Context(), connection("same", 1), ""))
			ok(t, mine.DeleteConnection(t.Context(), "same", 0, at(9)))
			equal(t, got(theirs.Connection(t.Context(), "same"))(t), connection("same", 1))
		},
		"Providers": func(t *testing.T, mine, theirs O, _ delegation.OrgID) {
			ok(t, theirs.PutProviders(t.Context(), nil, provider))
			equal(t, got(mine.Providers(t.Context()))(t), nil)
		},
		"PutProviders": func(t *testing.T, mine, theirs O, _ delegation.OrgID) {
			ok(t, theirs.PutProviders(t.Context(), nil, provider))
			own := []store.ProviderRecord{{Name: "same", Text: []byte("mine")}}
			is(t, mine.PutProviders(t.Context(), provider, own), store.ErrConflict) // what another org has was not seen here
			ok(t, mine.PutProviders(t.Context(), nil, own))
			ok(t, mine.PutProviders(t.Context(), own, nil))
			equal(t, got(theirs.Providers(t.Context()))(t), provider)
		},
		"Consume": func(t *testing.T, mine, theirs O, _ delegation.OrgID) {
			ok(t, theirs.Consume(t.Context(), key(1), at(1)))
			ok(t, mine.Consume(t.Context(), key(1), at(1))) // one org cannot use up another's proof
			is(t, mine.Consume(t.Context(), key(1), at(1)), store.ErrConflict)
			is(t, theirs.Consume(t.Context(), key(1), at(1)), store.ErrConflict)
		},
		"Theme": func(t *testing.T, mine, theirs O, _ delegation.OrgID) {
			ok(t, theirs.PutTheme(t.Context(), store.Theme{Name: "theirs", Version: 1}))
			_, err := mine.Theme(t.Context())
			is(t, err, store.ErrNotFound)
		},
		"PutTheme": func(t *testing.T, mine, theirs O, _ delegation.OrgID) {
			ok(t, theirs.PutTheme(t.Context(), store.Theme{Name: "theirs", Version: 1}))
			is(t, mine.PutTheme(t.Context(), store.Theme{Name: "mine", Version: 2}), store.ErrConflict)
			ok(t, mine.PutTheme(t.Context(), store.Theme{Name: "mine", Version: 1}))
			equal(t, got(theirs.Theme(t.Context()))(t).Name, "theirs")
		},
		"ConnectionEvents": func(t *testing.T, mine, theirs O, _ delegation.OrgID) {
			ok(t, theirs.PutConnection(t.Context(), connection("same", 1), ""))
			equal(t, got(mine.ConnectionEvents(t.Context(), 0, 10))(t), nil)
			ok(t, mine.PutConnection(t.Context(), connection("same", 1), ""))
			equal(t, got(mine.ConnectionEvents(t.Context(), 0, 10))(t)[0].Sequence, 1) // numbers tell nothing of others
		},
		"ConnectionHead": func(t *testing.T, mine, theirs O, _ delegation.OrgID) {
			ok(t, theirs.PutConnection(t.Context(), connection("same", 1), ""))
			equal(t, got(mine.ConnectionHead(t.Context()))(t), 0)
		},
		"AcquireRefresh": func(t *testing.T, mine, theirs O, _ delegation.OrgID) {
			equal(t, got(theirs.AcquireRefresh(t.Context(), "same", at(1), at(9)))(t).Fence, 1)
			equal(t, got(mine.AcquireRefresh(t.Context(), "same", at(1), at(9)))(t).Fence, 1) // one org cannot hold up another
		},
		"SpendRefresh": func(t *testing.T, mine, theirs O, _ delegation.OrgID) {
			r := got(theirs.AcquireRefresh(t.Context(), "same", at(1), at(9)))(t)
			is(t, mine.SpendRefresh(t.Context(), r, []byte("x"), at(1)), store.ErrConflict)
			ok(t, theirs.SpendRefresh(t.Context(), r, []byte("x"), at(1)))
		},
		"ReleaseRefresh": func(t *testing.T, mine, theirs O, _ delegation.OrgID) {
			r := got(theirs.AcquireRefresh(t.Context(), "same", at(1), at(9)))(t)
			is(t, mine.ReleaseRefresh(t.Context(), r, true), store.ErrConflict)
			_, err := theirs.AcquireRefresh(t.Context(), "same", at(1), at(9))
			is(t, err, store.ErrConflict)
		},
		"Client": func(t *testing.T, mine, theirs O, _ delegation.OrgID) {
			ok(t, theirs.PutClient(t.Context(), store.Client{Name: "same", Version: 1}))
			_, err := mine.Client(t.Context(), "same")
			is(t, err, store.ErrNotFound)
		},
		"Clients": func(t *testing.T, mine, theirs O, _ delegation.OrgID) {
			ok(t, theirs.PutClient(t.Context(), store.Client{Name: "same", Version: 1}))
			equal(t, got(mine.Clients(t.Context(), "", 10))(t), nil)
		},
		"PutClient": func(t *testing.T, mine, theirs O, _ delegation.OrgID) {
			ok(t, theirs.PutClient(t.Context(), store.Client{Name: "same", ClientID: "theirs", Version: 1}))
			is(t, mine.PutClient(t.Context(), store.Client{Name: "same", ClientID: "mine", Version: 2}), store.ErrConflict)
			ok(t, mine.PutClient(t.Context(), store.Client{Name: "same", ClientID: "mine", Version: 1}))
			equal(t, got(theirs.Client(t.Context(), "same"))(t).ClientID, "theirs")
		},
		"DeleteClient": func(t *testing.T, mine, theirs O, _ delegation.OrgID) {
			ok(t, theirs.PutClient(t.Context(), store.Client{Name: "same", Version: 1}))
			is(t, mine.DeleteClient(t.Context(), "same", 1), store.ErrNotFound)
			got(theirs.Client(t.Context(), "same"))(t)
		},
		"Authorizations": func(t *testing.T, mine, theirs O, _ delegation.OrgID) {
			ok(t, theirs.PutAuthorization(t.Context(), authorization("same", 1)))
			equal(t, got(mine.Authorizations(t.Context(), "", 10))(t), nil)
		},
		"ResealAuthorization": func(t *testing.T, mine, theirs O, _ delegation.OrgID) {
			a := authorization("same", 1)
			ok(t, theirs.PutAuthorization(t.Context(), a))
			is(t, mine.ResealAuthorization(t.Context(), "same", a.Sealed, []byte("mine")), store.ErrConflict)
			ok(t, mine.PutAuthorization(t.Context(), a))
			ok(t, mine.ResealAuthorization(t.Context(), "same", a.Sealed, []byte("mine")))
			equal(t, got(theirs.Authorization(t.Context(), "same"))(t), a)
		},
		"Authorization": func(t *testing.T, mine, theirs O, _ delegation.OrgID) {
			ok(t, theirs.PutAuthorization(t.Context(), authorization("same", 1)))
			_, err := mine.Authorization(t.Context(), "same")
			is(t, err, store.ErrNotFound)
		},
		"PutAuthorization": func(t *testing.T, mine, theirs O, _ delegation.OrgID) {
			ok(t, theirs.PutAuthorization(t.Context(), authorization("same", 1)))
			is(t, mine.PutAuthorization(t.Context(), authorization("same", 2)), store.ErrConflict)
			ok(t, mine.PutAuthorization(t.Context(), authorization("same", 1)))
			ok(t, mine.PutAuthorization(t.Context(), authorization("same", 2)))
			equal(t, got(theirs.Authorization(t.Context(), "same"))(t), authorization("same", 1))
		},
		"AuditRecords": func(t *testing.T, mine, theirs O, their delegation.OrgID) {
			ok(t, e.AppendAudit(t.Context(), []store.AuditRecord{
				{Org: their, ActionID: "same.x", Transaction: "same"}, {Org: their, ActionID: "admin"},
			}))
			equal(t, got(mine.AuditRecords(t.Context(), store.AuditQuery{Limit: 10}))(t), nil)
			for _, action := range []string{"same", "same.x", "admin"} {
				equal(t, got(mine.AuditRecords(t.Context(), store.AuditQuery{Action: action, Limit: 10}))(t), nil)
				equal(t, len(got(theirs.AuditRecords(t.Context(), store.AuditQuery{Action: action, Limit: 10}))(t)), 1)
			}
		},
	}
	maps.Copy(cases, webhookApart[O]())
	covered[O](t, cases)
	for name, f := range cases {
		t.Run(name, func(t *testing.T) {
			mine, their := delegation.OrgID(name+"-mine"), delegation.OrgID(name+"-theirs")
			f(t, e.Org(mine), e.Org(their), their)
		})
	}
}
