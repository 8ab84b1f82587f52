//! Reservations: what is set aside for whom, and what is on it.

use quorate_proto::v1;
use serde::Serialize;

use super::table::{Rows, entry};
use super::{Paint, View, time};

/// A node of a reservation.
#[derive(Debug, Serialize)]
struct Node {
    name: String,
    /// None: there is no node by that name now.
    takes_work: Option<bool>,
    own_attempts: u32,
    other_attempts: u32,
}

/// A reservation.
#[derive(Debug, Serialize)]
struct Reservation {
    name: String,
    namespace: String,
    open: bool,
    begins_in_ms: u64,
    ends_in_ms: u64,
    by: String,
    at_ms: u64,
}

impl Reservation {
    /// The row and its nodes.
    fn of(row: v1::Reservation) -> (Self, Vec<v1::ReservedNode>) {
        let v1::Reservation { name, namespace, nodes, open, begins_in_ms, ends_in_ms, by, at_ms, waiting: _ } = row;
        (Self { name, namespace, open, begins_in_ms, ends_in_ms, by, at_ms }, nodes)
    }

    /// `open`, or `planned`.
    fn word(&self) -> &'static str {
        if self.open { "open" } else { "planned" }
    }

    /// When it begins.
    fn begins(&self) -> String {
        if self.open { "begun".to_owned() } else { format!("in {}", time::span(self.begins_in_ms)) }
    }

    fn ends(&self) -> String {
        format!("in {}", time::span(self.ends_in_ms))
    }
}

/// A reservation in a list, with the names of its nodes.
#[derive(Debug, Serialize)]
struct Listed {
    #[serde(flatten)]
    reservation: Reservation,
    nodes: Vec<String>,
}

/// `reservation list`.
#[derive(Debug, Serialize)]
pub(crate) struct ReservationList {
    reservations: Vec<Listed>,
    revision: u64,
}

impl From<v1::ListReservationsResponse> for ReservationList {
    fn from(answer: v1::ListReservationsResponse) -> Self {
        let listed = |row| {
            let (reservation, nodes) = Reservation::of(row);
            Listed { reservation, nodes: nodes.into_iter().map(|node| node.name).collect() }
        };
        Self { reservations: answer.reservations.into_iter().map(listed).collect(), revision: answer.revision }
    }
}

impl View for ReservationList {
    const SCHEMA: &'static str = "quorate.v1.reservation_list/1";

    fn human(&self, paint: Paint) -> String {
        if self.reservations.is_empty() {
            return "No reservations: 'quorate reservation create' sets nodes aside".to_owned();
        }
        let mut rows = Rows::new(paint, &["RESERVATION", "NAMESPACE", "STATE", "BEGINS", "ENDS", "NODES"]);
        for Listed { reservation, nodes } in &self.reservations {
            rows.row(vec![
                entry(&reservation.name),
                entry(&reservation.namespace),
                entry(reservation.word()),
                entry(reservation.begins()),
                entry(reservation.ends()),
                entry(nodes.len().to_string()),
            ]);
        }
        rows.text()
    }
}

/// `reservation show`.
#[derive(Debug, Serialize)]
pub(crate) struct ReservationShown {
    #[serde(flatten)]
    reservation: Reservation,
    nodes: Vec<Node>,
    waiting: u64,
    revision: u64,
}

impl From<v1::GetReservationResponse> for ReservationShown {
    fn from(answer: v1::GetReservationResponse) -> Self {
        let row = answer.reservation.unwrap_or_default();
        let waiting = row.waiting;
        let (reservation, nodes) = Reservation::of(row);
        let nodes = nodes.into_iter().map(|node| {
            let v1::ReservedNode { name, takes_work, own_attempts, other_attempts } = node;
            Node { name, takes_work, own_attempts, other_attempts }
        });
        Self { reservation, nodes: nodes.collect(), waiting, revision: answer.revision }
    }
}

impl View for ReservationShown {
    const SCHEMA: &'static str = "quorate.v1.reservation/1";

    fn human(&self, paint: Paint) -> String {
        let Self { reservation, nodes, waiting, revision: _ } = self;
        let mut text = format!(
            "Reservation  {} ({})\nNamespace    {}\nTime         begins {}, ends {}\nMade by      {} at {}\nWaiting      {}",
            reservation.name,
            reservation.word(),
            reservation.namespace,
            if reservation.open { "now".to_owned() } else { reservation.begins() },
            reservation.ends(),
            reservation.by,
            time::instant(reservation.at_ms),
            time::count(*waiting, "task"),
        );
        let mut rows = Rows::new(paint, &["NODE", "STATUS", "OF IT", "OTHERS"]);
        for node in nodes {
            let status = match node.takes_work {
                Some(true) => "takes work",
                Some(false) => "out of service",
                None => "not known",
            };
            rows.row(vec![
                entry(&node.name),
                entry(status),
                entry(node.own_attempts.to_string()),
                entry(node.other_attempts.to_string()),
            ]);
        }
        text.push_str("\n\n");
        text.push_str(&rows.text());
        text
    }
}

/// `reservation create`.
#[derive(Debug, Serialize)]
pub(crate) struct ReservationCreated {
    /// Its name.
    pub(crate) name: String,
    /// Whose tasks may ask for it.
    pub(crate) namespace: String,
    /// Its nodes.
    pub(crate) nodes: Vec<String>,
    /// When its time begins, from now on.
    pub(crate) wait_ms: u64,
    /// How long that lasts.
    pub(crate) for_ms: u64,
    /// Since when it is so.
    pub(crate) revision: u64,
}

impl View for ReservationCreated {
    const SCHEMA: &'static str = "quorate.v1.reservation_created/1";

    fn human(&self, _: Paint) -> String {
        let Self { name, namespace, nodes, wait_ms, for_ms, revision: _ } = self;
        let begins = if *wait_ms == 0 { "from now on".to_owned() } else { format!("in {}", time::span(*wait_ms)) };
        format!(
            "Reservation {name}: {} for namespace {namespace}, {begins} for {}\nTasks ask for it with place.reservation = \"{name}\"",
            time::count(nodes.len() as u64, "node"),
            time::span(*for_ms),
        )
    }
}

/// `reservation end`.
#[derive(Debug, Serialize)]
pub(crate) struct ReservationEnded {
    /// Its name.
    pub(crate) name: String,
    /// Since when it is over.
    pub(crate) revision: u64,
}

impl View for ReservationEnded {
    const SCHEMA: &'static str = "quorate.v1.reservation_ended/1";

    fn human(&self, _: Paint) -> String {
        format!("Reservation {} is over; what runs on its nodes goes on", self.name)
    }
}
