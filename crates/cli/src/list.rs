//! The verb `list` of every noun: all pages, one output, and `--watch`.

use crate::app::App;
use crate::args::Listing;
use crate::client::List;
use crate::column::Column;
use crate::error::{Failure, Result};
use crate::human;
use crate::output;
use crate::sse::Follower;
use std::io::IsTerminal;
use std::time::Duration;

/// Longest time between two looks while watching.
const LOOK: Duration = Duration::from_secs(2);
/// Events that come together are shown together.
const GATHER: Duration = Duration::from_millis(200);

/// Prints a list, once or whenever it changes.
pub(crate) async fn run(app: &App, list: List, columns: &[Column], listing: &Listing) -> Result {
    if listing.fields.is_some() && !app.out.is_data() {
        return Err(Failure::usage("--fields is for -o json and yaml").hint("choose columns of a table with --columns"));
    }
    let query = listing.query();
    if !listing.watch {
        return app.out.list(&app.api()?.list(&list, &query).await?, columns);
    }
    let mut follower = Some(Follower::new(None));
    let mut before = String::new();
    loop {
        match app.api()?.list(&list, &query).await {
            Ok(items) => draw(&mut before, app.out.list_text(&items, columns, human::now())?)?,
            Err(e) if e.is_passing() => eprintln!("{}; trying again", e.message),
            Err(e) => return Err(e),
        }
        changed(app, &mut follower).await;
    }
}

/// Shows the list again: in place on a terminal, else only when it is another.
fn draw(before: &mut String, text: String) -> Result {
    if std::io::stdout().is_terminal() {
        output::print(&format!("\x1b[H\x1b[2J{text}"))?;
    } else if *before != text {
        output::print(&text)?;
    }
    *before = text;
    Ok(())
}

/// Waits for an event, or for a moment when there is none.
async fn changed(app: &App, follower: &mut Option<Follower>) {
    let Some(f) = follower else {
        tokio::time::sleep(LOOK).await;
        return;
    };
    let refused = tokio::select! {
        event = f.next(app) => event.is_err(),
        () = tokio::time::sleep(LOOK) => false,
    };
    if refused {
        *follower = None; // no right to see events: by the clock, then
    }
    tokio::time::sleep(GATHER).await;
}
