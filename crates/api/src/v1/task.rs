//! Tasks.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use virga_model::order::Progress;
use virga_model::task::{Cause, TaskKind, TaskState};
use virga_model::{TaskId, Time};

use super::{Problem, Reference};

/// A long operation.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Task {
    /// Identity.
    pub id: TaskId,
    /// What it does.
    pub kind: TaskKind,
    /// State.
    pub state: TaskState,
    /// To what.
    pub object: Reference,
    /// Why it exists.
    pub cause: Cause,
    /// Who asked; none for the platform itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requester: Option<Reference>,
    /// How far.
    pub progress: Progress,
    /// What is going on, in words.
    pub message: String,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Problem>,
    /// Somebody asked to stop it.
    pub cancel_requested: bool,
    /// The batch it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<TaskId>,
    /// When it was made.
    pub created_at: Time,
    /// When work on it began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Time>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Time>,
}

/// Parameters of reading a task.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TaskWaitQuery {
    /// Answer only when the task has ended, or after so many seconds (at most 60).
    #[serde(default)]
    pub wait: Option<u32>,
}

/// Path of a task.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub struct TaskPath {
    /// Id of the task.
    pub task: TaskId,
}
