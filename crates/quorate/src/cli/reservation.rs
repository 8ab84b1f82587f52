//! `quorate reservation`: nodes that are set aside for a namespace for a time that is agreed beforehand.

use std::time::{Duration, UNIX_EPOCH};

use clap::{Args, Subcommand};
use quorate_proto::v1;
use quorate_seams::{Clock as _, SystemClock};

use super::Context;
use super::stale::Stale;
use crate::exit::{Code, Error};
use crate::render::reservation::{ReservationCreated, ReservationEnded, ReservationList, ReservationShown};

/// `quorate reservation`.
#[derive(Args, Debug)]
pub(crate) struct Reservation {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Set nodes aside for a namespace, from some time on and for some time
    ///
    /// From then on they take nothing but tasks of the namespace, and of those below it, that ask for the reservation
    /// (place.reservation). Before it nothing is placed there that would not have ended by then, as far as timeouts say. What runs
    /// there nevertheless goes on.
    Create(Create),
    /// List the reservations that are not over
    List {
        #[command(flatten)]
        stale: Stale,
    },
    /// Show a reservation, what is on its nodes, and who waits for it
    Show {
        /// The reservation's name
        name: String,
        #[command(flatten)]
        stale: Stale,
    },
    /// End a reservation before its time is over, or before it began; what runs there goes on
    End {
        /// The reservation's name
        name: String,
    },
}

#[derive(Args, Debug)]
struct Create {
    /// What tasks ask for it by (place.reservation)
    name: String,
    /// Its nodes; several with commas between them, or by giving the flag again
    #[arg(long = "node", value_name = "NODE", required = true, value_delimiter = ',')]
    nodes: Vec<String>,
    /// When its time begins: in so long, such as 2h, or at an instant, such as 2026-11-24T08:00:00Z; at once without it
    #[arg(long, value_name = "TIME", value_parser = wait)]
    begin: Option<Duration>,
    /// How long it lasts, such as 4h
    #[arg(long = "for", value_name = "TIME", value_parser = crate::settings::timeout)]
    lasts: Duration,
}

impl Reservation {
    pub(crate) async fn execute(self, context: &Context) -> Result<Code, Error> {
        match self.verb {
            Verb::Create(create) => create.execute(context).await?,
            Verb::List { stale } => {
                let client = stale.client(context)?;
                let answer = client.list_reservations(v1::ListReservationsRequest {}).await.map_err(older)?;
                context.output.show_read(&ReservationList::from(answer), client.staleness())?;
            }
            Verb::Show { name, stale } => {
                let client = stale.client(context)?;
                let answer = client.get_reservation(v1::GetReservationRequest { name }).await.map_err(older)?;
                context.output.show_read(&ReservationShown::from(answer), client.staleness())?;
            }
            Verb::End { name } => {
                let request = v1::EndReservationRequest { request_id: String::new(), name: name.clone() };
                let revision = context.client()?.end_reservation(request).await.map_err(older)?.revision;
                context.output.show(&ReservationEnded { name, revision })?;
            }
        }
        Ok(Code::Ok)
    }
}

impl Create {
    async fn execute(self, context: &Context) -> Result<(), Error> {
        let Self { name, nodes, begin, lasts } = self;
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let (wait_ms, for_ms) = (begin.map_or(0, millis), millis(lasts));
        let namespace = context.connection()?.namespace.to_string();
        let request = v1::CreateReservationRequest {
            request_id: String::new(),
            name: name.clone(),
            namespace: namespace.clone(),
            nodes: nodes.clone(),
            wait_ms,
            for_ms,
        };
        let revision = context.client()?.create_reservation(request).await.map_err(older)?.revision;
        context.output.show(&ReservationCreated { name, namespace, nodes, wait_ms, for_ms, revision })
    }
}

fn older(error: quorate_client::Error) -> Error {
    Error::of_older(error, "reservations")
}

/// How long it is until then.
fn wait(text: &str) -> Result<Duration, String> {
    let Ok(time) = humantime::parse_rfc3339(text) else {
        let why =
            |_| format!("{text:?} is neither a duration, such as 2h, nor an instant, such as 2026-11-24T08:00:00Z");
        return humantime::parse_duration(text).map_err(why);
    };
    let now = UNIX_EPOCH + Duration::from_millis(SystemClock.wall().0);
    time.duration_since(now).map_err(|_| format!("{text} is over: choose an instant to come"))
}
