//! Accounts, role bindings and API tokens.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use virga_model::role::{Privilege, Role, Scope};
use virga_model::{RoleBindingId, Time, TokenId, UserId};

use super::{Grant, Reference};

/// An account.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct User {
    /// Identity.
    pub id: UserId,
    /// Login name.
    pub name: String,
    /// May not sign in.
    pub disabled: bool,
    /// The password must be changed at the next sign-in.
    pub must_change_password: bool,
    /// Locked after wrong passwords until then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub locked_until: Option<Time>,
    /// Roles and over what.
    pub grants: Vec<Grant>,
    /// Grows with each change; the ETag.
    pub generation: i64,
    /// When it was made.
    pub created_at: Time,
}

/// Makes an account.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UserCreate {
    /// Login name.
    pub name: String,
    /// First password; must be changed at the first sign-in. With three administrators it is left out: the account is
    /// made disabled and without roles, and the security administrator sets the password.
    #[serde(default)]
    pub password: Option<String>,
    /// Role over everything; grant finer ones with role bindings.
    #[serde(default)]
    pub role: Option<Role>,
}

/// Changes of an account.
#[derive(Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UserUpdate {
    /// Forbid or allow sign-in; forbidding ends all sessions.
    #[serde(default)]
    pub disabled: Option<bool>,
    /// New password; must be changed at the next sign-in; ends all sessions and any lock.
    #[serde(default)]
    pub password: Option<String>,
}

/// A role and what it is for.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct RoleInfo {
    /// Role.
    pub role: Role,
    /// What it is for.
    pub description: String,
    /// What it allows.
    pub privileges: Vec<Privilege>,
}

/// A role granted to a user over a scope.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct RoleBinding {
    /// Identity.
    pub id: RoleBindingId,
    /// To whom.
    pub user: Reference,
    /// Which role.
    pub role: Role,
    /// Over what.
    pub scope: Scope,
}

/// Grants a role.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RoleBindingCreate {
    /// To whom (name or id).
    pub user: String,
    /// Which role.
    pub role: Role,
    /// Over what.
    pub scope: Scope,
}

/// An API token, without its secret.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ApiToken {
    /// Identity.
    pub id: TokenId,
    /// Label.
    pub name: String,
    /// Whose rights it has at most.
    pub user: Reference,
    /// Role it is limited to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// Scope it is limited to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<Scope>,
    /// Ends at.
    pub expires_at: Time,
    /// Last used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used_at: Option<Time>,
    /// When it was made.
    pub created_at: Time,
}

/// Makes an API token for oneself.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ApiTokenCreate {
    /// Label.
    pub name: String,
    /// Seconds for which it is good, at most a year.
    pub valid_s: u32,
    /// Limit it to this role.
    #[serde(default)]
    pub role: Option<Role>,
    /// Limit it to this scope.
    #[serde(default)]
    pub scope: Option<Scope>,
}

/// A new API token with its secret.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
pub struct ApiTokenCreated {
    /// The token's description.
    pub token: ApiToken,
    /// Bearer token. Shown once.
    pub secret: String,
}

/// Path of an account.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub struct UserPath {
    /// Name or id of the user.
    pub user: String,
}

/// Path of a role binding.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub struct RoleBindingPath {
    /// Id of the role binding.
    pub binding: RoleBindingId,
}

/// Path of an API token.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub struct TokenPath {
    /// Id of the token.
    pub token: TokenId,
}
