//! Scheduling as a whole, on one thread and in virtual time: the real scheduler on a machine whose threads go
//! on in an order that a seed decides, at each lock, and in the middle of turns. A model says what must be
//! true of every turn.

mod guest;
mod machine;
mod model;
mod platform;
mod world;

use std::sync::Arc;

use crate::core::simulation::episodes;
use crate::runtime::simulation::world::World;

#[test]
fn every_task_that_is_woken_has_its_turn_in_order_and_in_time() {
    let (mut turns, mut behind) = (0, 0);
    episodes::run(|world: Arc<World>| {
        let (all, its_behind) = world.model.size();
        (turns, behind) = (turns + all, behind + its_behind);
    });
    println!("{turns} turns, {behind} of them behind the workers");
    assert!(turns > behind && behind > 0);
}
