package policy_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/policy"
	"github.com/onbehalf/obo/store"
)

// mayDo is the whole of what each role may do to its own org, by action. What is not here is refused.
var mayDo = map[string][]string{
	policy.RoleOrgAdmin: {
		"AdminService.ApplyOrg", "AdminService.GetOrg", "AdminService.ListAgents", "AdminService.ListRevocations", "AdminService.ListSignalStreams",
		"AdminService.PutSignalCredential", "AdminService.Revoke", "AdminService.RotateClientSecret", "AdminService.RotateScimToken",
		"AuditService.ListRecords", "AuditService.TailRecords",
		"ExecutorAdminService.ApplyProviders", "ExecutorAdminService.DeleteConnection", "ExecutorAdminService.GetProviders",
		"ExecutorAdminService.ListConnections", "ExecutorAdminService.PutConnection", "ExecutorAdminService.ShredOrg",
		"ExecutorAdminService.WatchConnections", "ExecutorAdminService.GetWebhook",
		"ExecutorAdminService.GetVault", "ExecutorAdminService.RotateDataKey",
		"ExecutorAdminService.GetConnection", "ExecutorAdminService.GetTheme", "ExecutorAdminService.AuthorizeConnection", "ExecutorAdminService.AwaitConnection",
		"ExecutorAdminService.PutClient", "ExecutorAdminService.PutTheme", "ExecutorAdminService.ListClients", "ExecutorAdminService.DeleteClient",
		"ExecutorAdminService.PutWebhook", "ExecutorAdminService.DeleteWebhook", "ExecutorAdminService.TestWebhook",
		policy.ChangeAll,
	},
	policy.RolePolicyAuthor: {
		"AdminService.ApplyOrg", "AdminService.GetOrg", "AdminService.ListAgents", "AdminService.ListRevocations", "AdminService.ListSignalStreams",
		"ExecutorAdminService.GetProviders", "ExecutorAdminService.ListConnections", "ExecutorAdminService.GetVault",
		"ExecutorAdminService.GetConnection", "ExecutorAdminService.GetTheme", "ExecutorAdminService.AwaitConnection", "ExecutorAdminService.ListClients",
		"ExecutorAdminService.WatchConnections", "ExecutorAdminService.GetWebhook",
	},
	policy.RoleAuditor: {
		"AdminService.GetOrg", "AdminService.ListAgents", "AdminService.ListRevocations", "AdminService.ListSignalStreams",
		"AuditService.ListRecords", "AuditService.TailRecords",
		"ExecutorAdminService.GetProviders", "ExecutorAdminService.ListConnections", "ExecutorAdminService.GetVault",
		"ExecutorAdminService.GetConnection", "ExecutorAdminService.GetTheme", "ExecutorAdminService.AwaitConnection", "ExecutorAdminService.ListClients",
		"ExecutorAdminService.WatchConnections", "ExecutorAdminService.GetWebhook",
	},
}

// TestRoles: each role by each action, in its own org, in another, and on the server itself (threat: confused deputy, tenant
// mix-up).
func TestRoles(t *testing.T) {
	t.Parallel()
	roles, err := policy.NewRoles()
	if err != nil {
		t.Fatal(err)
	}
	for _, act := range roles.Actions() {
		for _, to := range []delegation.OrgID{"acme", "globex", store.PlatformOrg} {
			if d := roles.Decide(policy.RoleOperator, store.PlatformOrg, act, to); !d.Allowed {
				t.Errorf("an operator may not %s to %s: %s", act, to, d)
			}
			for _, role := range policy.OrgRoles() {
				want := to == "acme" && slices.Contains(mayDo[role], act)
				if d := roles.Decide(role, "acme", act, to); d.Allowed != want {
					t.Errorf("%s of acme, %s to %s: %s", role, act, to, d)
				}
			}
		}
	}
	for role, acts := range mayDo {
		for _, act := range acts {
			if !slices.Contains(roles.Actions(), act) {
				t.Errorf("%s may do %q, which is no action", role, act)
			}
		}
	}
}

// TestRolesFailClosed: what nobody has classified, and who has no role.
func TestRolesFailClosed(t *testing.T) {
	t.Parallel()
	roles, err := policy.NewRoles()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ role, act string }{
		{policy.RoleOperator, "AdminService.DoSomethingNew"}, {policy.RoleOperator, ""}, {policy.RoleOperator, "read"},
		{"", "AdminService.GetOrg"}, {"root", "AdminService.GetOrg"}, {strings.ToUpper(policy.RoleAuditor), "AdminService.GetOrg"},
	} {
		if d := roles.Decide(c.role, "acme", c.act, "acme"); d.Allowed {
			t.Errorf("%q may %q", c.role, c.act)
		}
	}
}
