/// \file
/// The core of fanfare: channels, events and their subscribers inside one program. Needs the standard library only.
#pragma once

#include <fanfare/core/channel_handle.hpp>
#include <fanfare/core/channel_name.hpp>
#include <fanfare/core/channel_registry.hpp>
#include <fanfare/core/errc.hpp>
#include <fanfare/core/event.hpp>
#include <fanfare/core/inbox.hpp>
#include <fanfare/core/message.hpp>
#include <fanfare/core/policy.hpp>
#include <fanfare/core/sink.hpp>
#include <fanfare/core/subscription.hpp>
#include <fanfare/core/trigger.hpp>
#include <fanfare/version.hpp>
