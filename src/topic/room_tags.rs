//! Tags by which a group can be found.

use freehold_store::Batch;

use super::{
    actor::{Actor, Effect},
    asked::Asked,
};
use crate::edge::reply::{self, Reply};

impl Actor {
    pub(super) async fn set_tags(
        &mut self,
        _asked: &Asked,
        _tags: &[String],
        _batch: &mut Batch,
        _effects: &mut Vec<Effect>,
    ) -> Result<(), Reply> {
        std::future::ready(Err(reply::NOT_IMPLEMENTED.into())).await
    }

    pub(super) async fn new_tags(
        &mut self,
        _tags: &[String],
        _batch: &mut Batch,
    ) -> Result<Vec<String>, Reply> {
        std::future::ready(Err(reply::NOT_IMPLEMENTED.into())).await
    }

    pub(super) async fn drop_tags(&mut self, _batch: &mut Batch) -> Result<(), Reply> {
        std::future::ready(Ok(())).await
    }
}
