package e2e_test

import (
	"encoding/json"
	"fmt"
)

// record is the tracker's provider record, as an org would apply it.
func (k *tracker) record() string {
	return fmt.Sprintf(`
name: tracker
description: An issue tracker.
base_url: %s
auth:
  api_key: {style: bearer}
scopes:
  "tracker:issues:read": See issues.
  "tracker:issues:write": Make issues.
  "tracker:admin": Do anything.
tools:
  - name: list_issues
    description: List the issues of a project.
    method: GET
    path: /projects/{project}/issues
    arguments:
      type: object
      additionalProperties: false
      required: [project]
      properties: {project: {type: string, maxLength: 64}}
    scopes: ["tracker:issues:read"]
    risk: read
  - name: create_issue
    description: Make an issue.
    method: POST
    path: /projects/{project}/issues
    body: {title: "{title}"}
    arguments:
      type: object
      additionalProperties: false
      required: [project, title]
      properties: {project: {type: string, maxLength: 64}, title: {type: string, maxLength: 200}}
    scopes: ["tracker:issues:write"]
    risk: write
`, k.url)
}

// trackerPolicy is what the token server knows of the tracker: names and argument types, nothing that calls it.
var trackerPolicy = map[string]any{
	"name":   "tracker",
	"scopes": []string{"tracker:issues:read", "tracker:issues:write", "tracker:admin"},
	"tools": []any{
		map[string]any{"name": "tracker.list_issues", "provider": "tracker", "groups": []string{"read"},
			"args": schema(`{"type":"object","additionalProperties":false,"required":["project"],"properties":{"project":{"type":"string"}}}`)},
		map[string]any{"name": "tracker.create_issue", "provider": "tracker", "groups": []string{"write"},
			"args": schema(`{"type":"object","additionalProperties":false,"required":["project","title"],"properties":{"project":{"type":"string"},"title":{"type":"string"}}}`)},
	},
}

func schema(s string) json.RawMessage { return json.RawMessage(s) }

// policies of either org; ORG is its id.
const policies = `
@id("staff-may-read-and-write-issues")
permit (principal in AgentGroup::"ORG/staff", action == Action::"exchange", resource in Provider::"tracker")
when { context.subject in Group::"ORG/engineering" && context.depth <= 3 };

@id("nobody-is-admin")
forbid (principal, action == Action::"exchange", resource == Scope::"tracker:admin");

@id("read-anything")
permit (principal in AgentGroup::"ORG/staff", action == Action::"tracker.list_issues", resource);

@id("write-in-apollo")
permit (principal in AgentGroup::"ORG/staff", action == Action::"tracker.create_issue", resource)
when { context.args.project == "apollo" };
`
