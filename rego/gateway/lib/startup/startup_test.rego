package gateway.lib.startup_test

import data.gateway.lib.startup

test_files_that_programs_run_by_themselves if {
	every text in [
		".profile", "~/.bashrc", "/home/ada/.zshrc", "$HOME/.bash_profile", ".PROFILE", "./.profile", "x/../.profile", `C:\Users\ada\.gitconfig`,
		".ssh/authorized_keys", "authorized_keys", "/root/.ssh/authorized_keys2", ".ssh/config", "/etc/crontab", "crontab", "/etc/cron.d/job",
		"/etc/cron.daily/job", "/var/spool/cron/root", "/var/spool/cron/crontabs/root", ".config/systemd/user/a.service",
		"/etc/systemd/system/multi-user.target.wants/a.service", ".config/autostart/a.desktop", "/etc/profile", "/etc/profile.d/a.sh",
		"/etc/rc.local", "/etc/ld.so.preload", "/etc/sudoers.d/ada", ".git/hooks/pre-commit", "repo/.git/config", ".husky/pre-push",
		"~/.config/fish/config.fish", "~/.config/fish/conf.d/a.fish", "~/Library/LaunchAgents/a.plist", ".mcp.json", ".cursor/mcp.json",
		".vscode/tasks.json", ".claude/settings.local.json", ".envrc", "Documents/PowerShell/Microsoft.PowerShell_profile.ps1",
		`AppData\Roaming\Microsoft\Windows\Start Menu\Programs\Startup\a.lnk`, "sitecustomize.py", "file:///home/ada/.bashrc",
	] {
		startup.names_file(text)
	}
}

test_such_files_in_other_writings if {
	every text in [
		".profile/", ".profile.", ".profile ", ".profile\n", "'.profile'", "a '.profile'", "%2eprofile", "a%2f.profile", "%252eprofile", ".git//hooks/./pre-commit", ".ssh/././rc",
		"\uff0eprofile", "a\uff0f.profile", ".profile?x", ".profile#x", ".profile\u0000.txt",
	] {
		startup.names_file(text)
	}
}

test_other_files_are_none if {
	every text in [
		"", "profile", "profile.md", "my.profile", ".profile.md", "a/profile.txt", ".bashrc.bak", "bashrc", "cron.md", "docs/crontab.md", "hooks/pre-commit.md",
		"src/hooks/useUser.ts", ".gitignore", ".github/workflows/ci.yml", ".env", ".npmrc", "ssh/config.md", "config", "etc/hosts", "settings.json",
		"systemd.md", "startup/plan.docx", "login", "emacs", "model.pth", "customize.py", "mcp.jsonl", "\uff0e", "report .profile.pdf",
	] {
		not startup.names_file(text)
	}
	long := concat("", [concat("", [x | some _ in numbers.range(1, 4096); x := "a/"]), ".profile"])
	not startup.names_file(long)
}
