//! Whole domains in one process, as their people see them: real sockets, keys, DNS and stores; free
//! ports, temporary folders, and a clock that the scenes move. Every frame that a client receives is
//! checked for its form.

#[cfg(test)]
mod account_refusals;
#[cfg(test)]
mod accounts;
#[cfg(test)]
mod admin;
#[cfg(test)]
mod bot;
#[cfg(test)]
mod calls;
#[cfg(test)]
mod channel_crossing;
#[cfg(test)]
mod credentials;
#[cfg(test)]
mod crossing;
#[cfg(test)]
mod deletion_abroad;
#[cfg(test)]
mod desk;
#[cfg(test)]
mod edge;
#[cfg(test)]
mod entrance;
#[cfg(test)]
mod erasure;
#[cfg(test)]
mod files;
#[cfg(test)]
mod files_abroad;
#[cfg(test)]
mod files_killed;
#[cfg(test)]
mod files_s3;
#[cfg(test)]
mod first_contact;
#[cfg(test)]
mod friends;
#[cfg(test)]
mod group_crossing;
#[cfg(test)]
mod group_moving;
#[cfg(test)]
mod groups;
#[cfg(test)]
mod grpc;
#[cfg(test)]
mod grpc_files;
#[cfg(test)]
mod guest;
#[cfg(test)]
mod hosting;
#[cfg(test)]
mod identity;
#[cfg(test)]
mod limits;
#[cfg(test)]
mod listed;
#[cfg(test)]
mod longpoll;
#[cfg(test)]
mod messages;
#[cfg(test)]
mod net;
#[cfg(test)]
mod nobody;
#[cfg(test)]
mod past;
#[cfg(test)]
mod plugin;
#[cfg(test)]
mod plugins;
#[cfg(test)]
mod poller;
#[cfg(test)]
mod postman;
#[cfg(test)]
mod presence;
#[cfg(test)]
mod pushing;
#[cfg(test)]
mod raw;
#[cfg(test)]
mod registration;
#[cfg(test)]
mod relay;
#[cfg(test)]
mod restored;
mod running;
#[cfg(test)]
mod searching;
#[cfg(test)]
mod secrets;
#[cfg(test)]
mod secured;
#[cfg(test)]
mod service;
#[cfg(test)]
mod slow;
#[cfg(test)]
mod tags;
#[cfg(test)]
mod tls_client;
#[cfg(test)]
mod topic_refusals;
