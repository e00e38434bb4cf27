# METADATA
# scope: package
# title: Files that programs run or obey by themselves
# description: |
#   Startup files of shells and sessions, timed jobs, services, keys that open a login, hooks of git, and settings by
#   which editors and agents start programs. Judged as text. A folder that an earlier call chose is not seen.
package gateway.lib.startup

import data.gateway.lib.letters

# METADATA
# title: The path names such a file
names_file(text) if {
	count(text) <= _longest
	regex.match(_file, _plain(text))
}

_longest := 4096

# In lower case, with one `/` between names, and without what some readers drop at the end.
_plain(text) := regex.replace(joined, `[?#\x00].*$|[\x00-\x20./"']+$`, "") if {
	read := strings.replace_n(_read_as, letters.lowered(text))
	joined := regex.replace(read, `/(\.?/)+`, "/")
}

_read_as := {
	`\`: "/",
	"%2e": ".",
	"%2f": "/",
	"%5c": "/",
	"%252e": ".",
	"%252f": "/",
	"\uff0e": ".",
	"\u2024": ".",
	"\uff0f": "/",
	"\u2215": "/",
	"\u2044": "/",
}

_file := concat("", [`(?s)(^|[/:'"\x00-\x20])(`, concat("|", _names), `)$`])

_names := [
	# Shells, sessions and tools that read a file of commands when they start.
	`\.(bashrc|bash_profile|bash_login|bash_logout|bash_aliases|profile|zshrc|zshenv|zprofile|zlogin|zlogout|kshrc|mkshrc)`,
	`\.(cshrc|tcshrc|login|logout|xprofile|xinitrc|xsession|xsessionrc|pam_environment|envrc|vimrc|gvimrc|exrc|emacs)`,
	`\.(gdbinit|lldbinit|pythonrc|irbrc|pryrc|rprofile|gitconfig)`,
	`fish/(config|conf\.d/[^/]+|functions/[^/]+)\.fish`,
	`(microsoft\.[a-z]+_)?profile\.ps1`,
	`autoexec\.bat`,
	`(site|user)customize\.py`,
	# Keys and settings of SSH.
	`authorized_keys2?`,
	`\.ssh/(rc|config|environment)`,
	# Timed jobs and services.
	`(ana)?crontab`,
	`cron\.(d|hourly|daily|weekly|monthly)/[^/]+`,
	`(cron|crontabs|atjobs)/[a-z0-9._-]+`,
	`systemd/(system|user)/.+`,
	`(autostart|startup)/[^/]+\.(desktop|lnk|bat|cmd|vbs|ps1|exe|url)`,
	`launch(agents|daemons)/[^/]+\.plist`,
	# The system's own.
	`etc/(profile|environment|bash\.bashrc|zshrc|zshenv|zprofile|rc\.local|ld\.so\.preload|sudoers|inittab)`,
	`etc/(profile\.d|sudoers\.d|init\.d|rc[0-9s]?\.d|update-motd\.d|ld\.so\.conf\.d|pam\.d)/.+`,
	# Git runs hooks, and programs that its configuration names.
	`\.git/(config|hooks/[^/]+)`,
	`\.(husky|githooks)/[^/]+`,
	# Editors and agents start the servers and tasks that these files name.
	`\.?mcp\.json`,
	`\.vscode/(tasks|settings)\.json`,
	`\.claude/settings(\.local)?\.json`,
]
