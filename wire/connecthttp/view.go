package connecthttp

import (
	"cmp"
	"errors"
	"net/http"
	"strings"

	"github.com/onbehalf/obo/connection"
	"github.com/onbehalf/obo/store"
)

// view is what the page's template shows.
type view struct {
	Org, Title    string
	Style         string // the org's own, after ours; empty: none
	Alert, Status string
	Text          []string
	Allows        []string
	Form          *form
	Go, GoText    string
	Small         string
}

type form struct {
	Action, Submit string
	Fields         []field
}

type field struct {
	Name, Label, Hint, Type, Value string
	Required                       bool
}

const agentsNever = "Agents never see your password or key. They can ask for what is listed, and each call is checked and recorded."

// show is the page of an authorization; path is its own.
func show(p connection.Page, path string) view {
	v := view{Org: cmp.Or(p.Theme.Name, string(p.Org)), Title: "Connect your " + p.Provider + " account"}
	if p.Theme.Accent != "" {
		v.Style = path + "/theme.css"
	}
	switch p.Step {
	case connection.StepSignIn:
		v.Text = []string{
			asks(p) + " Sign in to show that you are the person who was asked. " + p.Provider + " hears of nothing before that.",
		}
		v.Go, v.GoText = path+"/sign-in", "Sign in to "+v.Org
		v.Small = "If you did not expect this, close the page. Nothing happens."
	case connection.StepGrant:
		v.Text = []string{"You are signed in as " + p.Subject + ".", asks(p)}
		if p.Account != "" {
			v.Text = append(v.Text, "It was connected as "+p.Account+" before. Choose the same account.")
		}
		v.Allows = p.Allows
		v.Go, v.GoText = path+"/grant", "Continue to "+p.Provider
		v.Small = agentsNever
	case connection.StepKey:
		v.Text = []string{"You are signed in as " + p.Subject + ".", asks(p)}
		v.Allows, v.Small = p.Allows, agentsNever
		v.Form = keyForm(p, path)
	default:
		done(p, &v)
	}
	return v
}

func asks(p connection.Page) string {
	if p.Agent == "" {
		return "An administrator asks you to connect your " + p.Provider + " account."
	}
	return p.Agent + " asks you to connect your " + p.Provider + " account."
}

func keyForm(p connection.Page, path string) *form {
	f := &form{Action: path + "/key", Submit: "Store it"}
	for _, s := range p.Settings {
		f.Fields = append(f.Fields, field{
			Name: "setting-" + s.Name, Label: strings.ReplaceAll(s.Name, "_", " "), Hint: s.Description, Type: "text", Value: s.Default, Required: true,
		})
	}
	label, hint := "API key", "It is stored encrypted, and nobody can read it again, you neither."
	if p.Basic {
		label = "Password"
		f.Fields = append(f.Fields, field{Name: "username", Label: "User name", Type: "text", Required: true})
	}
	f.Fields = append(f.Fields, field{Name: "secret", Label: label, Hint: hint, Type: "password", Required: true})
	return f
}

func done(p connection.Page, v *view) {
	switch p.Status {
	case connection.StatusActive:
		v.Title, v.Status = "Your "+p.Provider+" account is connected", "You can close this page and go back to the agent."
		if p.Reason != "" {
			v.Text = []string{"You granted less than was asked for. Tools that need " + p.Reason + " will ask again."}
		}
	case connection.StatusDenied:
		v.Title, v.Alert = "Your "+p.Provider+" account is not connected", "Access was denied at "+p.Provider+"."
		v.Text = []string{"If that was not meant, ask the agent for a new link."}
	case connection.StatusExpired:
		v.Title, v.Alert = "The link has expired", "Nothing was connected."
		v.Text = []string{"Ask the agent for a new link."}
	default:
		v.Title = "Your " + p.Provider + " account is not connected"
		result, evidence, _ := strings.Cut(p.Reason, ": ")
		switch connection.Result(result) {
		case connection.ResultOperatorConfig:
			v.Alert = "What your organization has set up for " + p.Provider + " is not in order."
			v.Text = []string{"Only an administrator can help. Tell yours: " + evidence + "."}
		case connection.ResultTransient:
			v.Alert = p.Provider + " does not answer as it should."
			v.Text = []string{"Ask the agent for a new link in a minute. If it happens again, tell your administrator: " + evidence + "."}
		default:
			v.Alert = sentence(p.Reason)
			v.Text = []string{"Ask the agent for a new link. If it happens again, tell your administrator what stands here."}
		}
	}
}

func sentence(s string) string {
	if s == "" {
		return ""
	}
	return strings.ToUpper(s[:1]) + s[1:] + "."
}

// failure is the page of a step that was refused, with its status.
func failure(err error) (int, view) {
	switch {
	case errors.Is(err, connection.ErrNotYours):
		return http.StatusForbidden, view{
			Title: "This link is for somebody else", Alert: "You are signed in as another person than the one who was asked. Nothing was connected.",
			Text: []string{
				"That you tried is on record. If somebody sent you the link, tell your administrator: it should not have come to you.",
				"If you have two logins, sign out at your identity provider, open the link again, and sign in as the person who was asked.",
			},
		}
	case errors.Is(err, connection.ErrNobody):
		return http.StatusForbidden, view{
			Title: "The sign-in was not accepted", Alert: "Nothing was connected.",
			Text: []string{"Open the link again and sign in with your organization's account. If it happens again, tell your administrator."},
		}
	case errors.Is(err, connection.ErrStep):
		return http.StatusConflict, view{
			Title: "This step cannot be done here", Alert: "It belongs to another browser, or was done already.",
			Text: []string{"Open the link again in the browser in which you want to finish."},
		}
	case errors.Is(err, connection.ErrLink), errors.Is(err, store.ErrNotFound):
		return http.StatusNotFound, view{
			Title: "This link is not good", Alert: "It has ended, was used, or never was.",
			Text: []string{"Ask the agent for a new link."},
		}
	case errors.Is(err, errOrigin):
		return http.StatusForbidden, view{
			Title: "This came from another site", Alert: "Nothing was stored.",
			Text: []string{"If you did not mean to connect an account, close the page. Else open the link that you were given."},
		}
	case errors.Is(err, errForm):
		return http.StatusBadRequest, view{
			Title: "What was entered cannot be read", Alert: "Nothing was stored.",
			Text: []string{"Open the link again. A key or a password has at most 8192 characters."},
		}
	case errors.Is(err, connection.ErrNoClient):
		return http.StatusServiceUnavailable, view{
			Title: "Your organization has not set this up", Alert: "Nothing was connected.",
			Text: []string{"An administrator has to register a client first (obo connect client set)."},
		}
	}
	return http.StatusServiceUnavailable, view{
		Title: "This does not work now", Alert: "Nothing was connected, or it is not known.",
		Text: []string{"Open the link again in a minute. If it happens again, tell your administrator."},
	}
}
