//! First-boot settings of a guest: what becomes the NoCloud seed (`meta-data`, `user-data`,
//! `network-config`; cloud-init documentation, "NoCloud").
//!
//! The structured fields and the free `user_data` are alternatives for the same file: `user_data`, when given,
//! is passed on untouched, so that Virga never has to merge or understand foreign YAML.

use crate::error::{Check, Error};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Longest `user_data` and `network_config`, in bytes.
pub const DOCUMENT_BYTES_MAX: usize = 64 * 1024;
/// Most users and most keys for each.
pub const USERS_MAX: usize = 16;

/// First-boot settings.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CloudInit {
    /// Host name; none: the VM's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_name: Option<String>,
    /// Keys for the image's default user (for root where there is none), in the form of `authorized_keys`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ssh_authorized_keys: Vec<String>,
    /// Further users.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub users: Vec<GuestUser>,
    /// A whole `user-data` document instead of the fields above (`#cloud-config`, a script, …).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_data: Option<String>,
    /// A `network-config` document (version 1 or 2); none: DHCP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network_config: Option<String>,
}

/// A user that cloud-init makes in the guest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GuestUser {
    /// Login name.
    pub name: String,
    /// Keys in the form of `authorized_keys`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ssh_authorized_keys: Vec<String>,
    /// May become root by sudo without a password.
    #[serde(default)]
    pub sudo: bool,
}

// User data may hold passwords: it never reaches a log through `{:?}`.
impl std::fmt::Debug for CloudInit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CloudInit")
            .field("host_name", &self.host_name)
            .field("users", &self.users.len())
            .field("user_data", &self.user_data.as_ref().map(|d| format!("<{} bytes>", d.len())))
            .finish_non_exhaustive()
    }
}

impl CloudInit {
    /// # Errors
    /// [`crate::ErrorCode::Invalid`] with every violation.
    pub fn check(&self) -> Result<(), Error> {
        let mut c = Check::new();
        if let Some(h) = &self.host_name {
            c.that(host_name_ok(h), "host_name", "must be a host name: letters, digits, '-' and '.', at most 253 characters");
        }
        check_keys(&mut c, "ssh_authorized_keys", &self.ssh_authorized_keys);
        c.that(self.users.len() <= USERS_MAX, "users", format!("at most {USERS_MAX}"));
        for (i, u) in self.users.iter().enumerate() {
            let ok = u.name.len() <= 32
                && u.name.bytes().next().is_some_and(|b| b.is_ascii_lowercase() || b == b'_')
                && u.name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'-'));
            c.that(ok, format!("users[{i}].name"), "must be a login name of at most 32 characters: a-z, 0-9, '_', '-'");
            check_keys(&mut c, &format!("users[{i}].ssh_authorized_keys"), &u.ssh_authorized_keys);
        }
        for (field, doc) in [("user_data", &self.user_data), ("network_config", &self.network_config)] {
            if let Some(d) = doc {
                c.that(d.len() <= DOCUMENT_BYTES_MAX, field, format!("at most {DOCUMENT_BYTES_MAX} bytes"));
                c.that(!d.contains('\0'), field, "must not contain a NUL character");
            }
        }
        c.that(
            self.user_data.is_none() || (self.users.is_empty() && self.ssh_authorized_keys.is_empty()),
            "user_data",
            "give either user_data or users and ssh_authorized_keys: user_data is passed on untouched",
        );
        c.done()
    }

    /// The three files of the seed: name and content.
    #[must_use]
    pub fn seed_files(&self, instance_id: &str, vm_name: &str) -> Vec<(&'static str, String)> {
        let host_name = self.host_name.as_deref().unwrap_or(vm_name);
        let meta = format!("instance-id: {}\nlocal-hostname: {}\n", quote(instance_id), quote(host_name));
        let user = self.user_data.clone().unwrap_or_else(|| self.cloud_config(host_name));
        let mut files = vec![("meta-data", meta), ("user-data", user)];
        if let Some(n) = &self.network_config {
            files.push(("network-config", n.clone()));
        }
        files
    }

    fn cloud_config(&self, host_name: &str) -> String {
        let mut t = format!("#cloud-config\nhostname: {}\n", quote(host_name));
        let keys = |t: &mut String, indent: &str, keys: &[String]| {
            t.push_str(indent);
            t.push_str("ssh_authorized_keys:\n");
            for k in keys {
                t.push_str(&format!("{indent}  - {}\n", quote(k)));
            }
        };
        if !self.ssh_authorized_keys.is_empty() {
            keys(&mut t, "", &self.ssh_authorized_keys);
        }
        if !self.users.is_empty() {
            t.push_str("users:\n  - default\n");
            for u in &self.users {
                t.push_str(&format!("  - name: {}\n    shell: /bin/bash\n    lock_passwd: true\n", quote(&u.name)));
                if u.sudo {
                    t.push_str("    sudo: \"ALL=(ALL) NOPASSWD:ALL\"\n");
                }
                if !u.ssh_authorized_keys.is_empty() {
                    keys(&mut t, "    ", &u.ssh_authorized_keys);
                }
            }
        }
        t
    }
}

/// A YAML double-quoted scalar; JSON strings are a subset of it (YAML 1.2, section 1.3).
fn quote(s: &str) -> String {
    serde_json::Value::String(s.to_string()).to_string()
}

fn host_name_ok(h: &str) -> bool {
    !h.is_empty()
        && h.len() <= 253
        && h.split('.')
            .all(|l| !l.is_empty() && l.len() <= 63 && !l.starts_with('-') && !l.ends_with('-') && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'))
}

fn check_keys(c: &mut Check, field: &str, keys: &[String]) {
    c.that(keys.len() <= USERS_MAX, field, format!("at most {USERS_MAX}"));
    for (i, k) in keys.iter().enumerate() {
        let ok = k.len() <= 16 * 1024 && !k.contains(char::is_control) && k.split_whitespace().count() >= 2;
        c.that(ok, format!("{field}[{i}]"), "must be one line as in authorized_keys: type, key, comment");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seed_quotes_what_people_type() {
        let ci = CloudInit {
            users: vec![GuestUser { name: "ops".into(), ssh_authorized_keys: vec!["ssh-ed25519 AAAA \"x: y".into()], sudo: true }],
            ..Default::default()
        };
        assert!(ci.check().is_ok());
        let files = ci.seed_files("id-1", "web-1");
        assert_eq!(files[0].1, "instance-id: \"id-1\"\nlocal-hostname: \"web-1\"\n");
        assert!(files[1].1.starts_with("#cloud-config\nhostname: \"web-1\"\nusers:\n  - default\n  - name: \"ops\"\n"));
        assert!(files[1].1.contains(r#"- "ssh-ed25519 AAAA \"x: y""#), "{}", files[1].1);
    }

    #[test]
    fn user_data_and_fields_exclude_each_other_and_are_not_logged() {
        let ci = CloudInit {
            user_data: Some("#cloud-config\npassword: hunter2\n".into()),
            ssh_authorized_keys: vec!["ssh-ed25519 AAAA".into()],
            ..Default::default()
        };
        assert_eq!(ci.check().unwrap_err().violations[0].field, "user_data");
        assert!(!format!("{ci:?}").contains("hunter2"));
    }

    #[test]
    fn hostile_values_are_refused() {
        for h in ["", "-a", "a b", "a\nuser: root", "x".repeat(300).as_str()] {
            let ci = CloudInit { host_name: Some(h.into()), ..Default::default() };
            assert!(ci.check().is_err(), "{h}");
        }
        let ci = CloudInit { ssh_authorized_keys: vec!["ssh-rsa A\nroot: x".into()], ..Default::default() };
        assert!(ci.check().is_err());
    }
}
