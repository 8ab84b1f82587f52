//! When history is trimmed.

use quorate_state::{Command, Revision, Settings};

use crate::world::World;

#[test]
fn history_is_trimmed_in_pieces_to_what_the_settings_keep() {
    let mut world = World::with(Settings { event_revisions_max: 80, ..Settings::default() });
    let mut trims = Vec::new();
    for number in 0..200 {
        world.apply(Command::CreateNamespace { namespace: format!("n{number}").parse().unwrap() });
        let decision = world.drive("retention");
        trims.extend(decision.commands.into_iter().map(|command| match command {
            Command::TrimEvents { below } => (world.state.revision(), below),
            other => panic!("not about history: {other:?}"),
        }));
        let meta = world.state.meta();
        assert!(meta.revision.0 - meta.events_from.0 <= 80 + 80 / 8 + 1);
    }
    // The trim decided at revision 91 keeps the 80 revisions before it, and every eleventh after it likewise.
    assert_eq!(trims[0], (Revision(92), Revision(11)));
    assert!(trims.windows(2).all(|pair| pair[1].1.0 == pair[0].1.0 + 11), "{trims:?}");
}
