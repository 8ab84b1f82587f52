//! What would become of the work if a region, a cluster or a node went away: the verb of three nouns.

use clap::Args;
use quorate_proto::v1;
use quorate_proto::v1::forecast_loss_request::Scope;

use super::Context;
use crate::exit::{Code, Error};
use crate::render::forecast::LossForecast;

/// `quorate region whatif`, `quorate cluster whatif`, `quorate node whatif`.
#[derive(Args, Debug)]
pub(crate) struct WhatIf {
    /// Its name
    name: String,
}

impl WhatIf {
    /// Asks what becomes of the work of this scope, which is called `kind`.
    pub(crate) async fn execute(
        self,
        context: &Context,
        kind: &'static str,
        scope: fn(String) -> Scope,
    ) -> Result<Code, Error> {
        let request = v1::ForecastLossRequest { scope: Some(scope(self.name.clone())) };
        let answer = context.client()?.forecast_loss(request).await?;
        context.output.show(&LossForecast::new(kind, self.name, answer))?;
        Ok(Code::Ok)
    }
}
