package registry

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	"github.com/onbehalf/obo/policy"
)

const maxAdministrators = 256

// AdministratorAudiences are the audiences of the ID tokens with which people of an issuer sign in to administer the org.
func (o *Org) AdministratorAudiences(issuer string) []string {
	var out []string
	for _, a := range o.doc.Administrators {
		if a.Issuer == issuer && a.Workload == nil {
			out = append(out, a.Audience)
		}
	}
	return out
}

// PersonRole is the role of a person whose ID token, of that issuer and for that audience, was verified; empty when there is
// none. Of several the one counts that may do the most.
func (o *Org) PersonRole(issuer, audience, subject string, groups []string) string {
	return o.role(func(a Administrator) bool {
		return a.Workload == nil && a.Issuer == issuer && a.Audience == audience &&
			(a.Subject != "" && a.Subject == subject || a.Group != "" && slices.Contains(groups, a.Group))
	})
}

// WorkloadRole is the same of a workload whose token was verified.
func (o *Org) WorkloadRole(issuer string, claims map[string]json.RawMessage) string {
	return o.role(func(a Administrator) bool {
		return a.Workload != nil && a.Workload.Issuer == issuer && a.Workload.fits(claims)
	})
}

func (o *Org) role(has func(Administrator) bool) string {
	for _, role := range policy.OrgRoles() { // the most first
		if slices.ContainsFunc(o.doc.Administrators, func(a Administrator) bool { return a.Role == role && has(a) }) {
			return role
		}
	}
	return ""
}

func (v *validator) administrators() {
	list := v.doc.Administrators
	v.require(len(list) <= maxAdministrators, "administrators", "has %d entries; at most %d", len(list), maxAdministrators)
	for i, a := range list[:min(len(list), maxAdministrators)] {
		path := "administrators/" + strconv.Itoa(i)
		v.require(slices.Contains(policy.OrgRoles(), a.Role), path+"/role", "must be one of %s", strings.Join(policy.OrgRoles(), ", "))
		if a.Workload != nil {
			v.require(a.Issuer == "" && a.Audience == "" && a.Subject == "" && a.Group == "", path+"/workload",
				"stands alone: a workload has a rule, and a person an issuer and an audience")
			v.rule(path+"/workload", *a.Workload)
			continue
		}
		v.person(path, a)
	}
}

func (v *validator) person(path string, a Administrator) {
	at := slices.IndexFunc(v.doc.Issuers, func(i Issuer) bool { return i.Name == a.Issuer })
	v.require(at >= 0, path+"/issuer", "%q is not in issuers", clip(a.Issuer))
	v.require((a.Subject == "") != (a.Group == ""), path+"/subject", "name either a subject or a group")
	for name, value := range map[string]string{"subject": a.Subject, "group": a.Group} {
		v.require(value == "" || isText(value), path+"/"+name, "must be at most %d printable characters", maxText)
	}
	v.require(isText(a.Audience), path+"/audience", "must be 1 to %d printable characters: the client id for signing in", maxText)
	for _, i := range v.doc.Issuers {
		v.require(!slices.Contains(i.Audiences, a.Audience), path+"/audience",
			"is one that agents present logins of: an agent could sign in as the person, so register a client id of its own")
	}
	if at >= 0 {
		v.require(a.Group == "" || v.doc.Issuers[at].GroupsClaim != "" || v.doc.Directory.Issuer == a.Issuer, path+"/group",
			"the issuer has no groups_claim, and directory is not of its users")
	}
}
