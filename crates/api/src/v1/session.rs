//! Sign-in.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use virga_model::role::{Privilege, Role, Scope};
use virga_model::{Time, UserId};

/// Signs in.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SignIn {
    /// Login name.
    pub user: String,
    /// Password.
    pub password: String,
}

/// Answer to a sign-in. Browsers use the cookie that comes with it and send `csrf` in the header `x-virga-csrf` with
/// each change; programs send `token` as bearer.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
pub struct SignedIn {
    /// Bearer token of the session. Shown once.
    pub token: String,
    /// Value for the header `x-virga-csrf` when the cookie is used.
    pub csrf: String,
    /// Ends at the latest.
    pub expires_at: Time,
    /// The password must be changed before anything else.
    pub must_change_password: bool,
}

/// Headers of an answer to a sign-in.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct SignedInHeaders {
    /// The session for browsers: `HttpOnly`, `Secure`, `SameSite=Strict`.
    #[serde(rename = "set-cookie")]
    pub set_cookie: String,
}

/// Who is signed in.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct WhoAmI {
    /// Account.
    pub id: UserId,
    /// Login name.
    pub name: String,
    /// The password must be changed before anything else.
    pub must_change_password: bool,
    /// Roles and over what.
    pub grants: Vec<Grant>,
    /// What those roles allow in at least one scope.
    pub privileges: Vec<Privilege>,
}

/// A role over a scope.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Grant {
    /// Role.
    pub role: Role,
    /// Over what.
    pub scope: Scope,
}

/// Changes one's own password. Ends all other sessions of the account.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PasswordChange {
    /// Present password.
    pub current: String,
    /// New password: at least 12 characters.
    pub new: String,
}
