//! Tokens and organizations.

use std::process::ExitCode;

use serde_json::json;

use super::lifecycle::text;
use crate::args::{Get, Listing, OrganizationCreate, Role, TokenCreate};
use crate::client::Client;
use crate::kind::Kind;
use crate::{show, terminal};

/// Creates a token, and prints only the token to standard output, so that a program can store it.
///
/// # Errors
/// If it can't be created.
pub async fn create_token(args: TokenCreate) -> anyhow::Result<ExitCode> {
    let client = Client::new(&args.bridge)?;
    let role = match args.role {
        Role::Admin => "admin",
        Role::Viewer => "viewer",
    };
    let made = client
        .post(&["tokens"], &json!({ "name": args.name, "role": role }))
        .await?;
    terminal::line(&text(&made["token"]))?;
    let organization = client.organization();
    terminal::aside(&format!(
        "token {} with the role {role} in the organization {organization}; it is shown this once",
        text(&made["id"])
    ));
    Ok(ExitCode::SUCCESS)
}

/// Lists tokens.
///
/// # Errors
/// If they can't be listed.
pub async fn list_tokens(args: Listing) -> anyhow::Result<ExitCode> {
    show::get(Get::all_of(Kind::Tokens, args)).await
}

/// Lists organizations.
///
/// # Errors
/// If they can't be listed.
pub async fn list_organizations(args: Listing) -> anyhow::Result<ExitCode> {
    show::get(Get::all_of(Kind::Organizations, args)).await
}

/// Creates an organization.
///
/// # Errors
/// If it exists already, or the token isn't allowed to.
pub async fn create_organization(args: OrganizationCreate) -> anyhow::Result<ExitCode> {
    let client = Client::new(&args.bridge)?;
    let made = client
        .post_root(&["api", "v1", "orgs"], &json!({ "id": args.id, "name": args.name }))
        .await?;
    terminal::line(&format!("organization {} created", text(&made["id"])))?;
    Ok(ExitCode::SUCCESS)
}
