package config

import (
	"fmt"
	"strings"
)

// Markdown is the table of all settings for docs/configuration.md.
func Markdown() string {
	var b strings.Builder
	group := ""
	for _, s := range settings {
		if s.group != group {
			group = s.group
			fmt.Fprintf(&b, "\n### %s\n\n| Key and flag | Environment | Default | Allowed | Meaning |\n|---|---|---|---|---|\n", group)
		}
		key, def := "`"+s.key+"`", "`"+s.def+"`"
		if s.secret {
			key += " (no flag)"
		}
		if s.def == "" {
			def = ""
		}
		fmt.Fprintf(&b, "| %s | `%s` | %s | %s | %s |\n", key, s.Env(), def, s.allowed, s.usage)
	}
	return b.String()
}
