//! What the elements of a task are for, as the expressions that they are.

use quorate_state::TaskSpec;
use quorate_values::{Each, Flaw, parse};

/// What the elements of a task are for; none of a task whose elements are equal.
///
/// # Errors
/// What the job says of it means nothing.
pub fn elements(task: &TaskSpec) -> Result<Option<Each>, Flaw> {
    use quorate_state::Each as Spec;
    Ok(match &task.each {
        None => None,
        Some(Spec::Items(items)) => {
            let read = |(place, item): (usize, &String)| parse(item.as_bytes(), &format!("element {place}"));
            Some(Each::Items(items.iter().enumerate().map(read).collect::<Result<_, _>>()?))
        }
        Some(Spec::Range { from }) => {
            let to = from.checked_add(i64::from(task.count));
            let to =
                to.ok_or_else(|| Flaw::new(format!("{} numbers from {from} on: no number is so large", task.count)))?;
            Some(Each::Range { from: *from, to })
        }
        Some(Spec::Result(reference)) => Some(Each::parse(reference)?),
    })
}
