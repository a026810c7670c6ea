// All programs, in the order in which they are run.
#pragma once

#include "explore/programs/lists.hpp"
#include "explore/programs/names.hpp"
#include "explore/programs/pools.hpp"
#include "explore/programs/queues.hpp"
#include "explore/programs/registries.hpp"

namespace fanfare::explore {

/// Calls `f.operator()<P>()` for each program `P`.
template <class F>
void for_each_program(F f) {
  f.template operator()<TriggerLeave>();
  f.template operator()<TriggerDetach>();
  f.template operator()<TriggerReplace>();
  f.template operator()<TriggerReuse>();
  f.template operator()<TriggerGrow>();
  f.template operator()<TriggerGrowArray>();
  f.template operator()<TriggerGrowLeave>();
  f.template operator()<TriggerClear>();
  f.template operator()<TriggerInNewBlock>();
  f.template operator()<NestedTrigger>();
  f.template operator()<WalkTwice>();
  f.template operator()<ChangeInCallback>();
  f.template operator()<TriggerAge>();
  f.template operator()<LookupErase>();
  f.template operator()<LookupBehindErase>();
  f.template operator()<LookupRebuild>();
  f.template operator()<LookupTwiceErase>();
  f.template operator()<LookupAdd>();
  f.template operator()<EachErase>();
  f.template operator()<EachRebuild>();
  f.template operator()<PushSleep>();
  f.template operator()<PushTwiceSleep>();
  f.template operator()<PushAgain>();
  f.template operator()<DropMessage>();
  f.template operator()<CopyDropMessage>();
  f.template operator()<PushPop>();
  f.template operator()<PushPushPop>();
  f.template operator()<PushOverPop>();
  f.template operator()<TakeTake>();
  f.template operator()<TakeTwo>();
  f.template operator()<RegistryLeave>();
  f.template operator()<RegistryLastLeave>();
  f.template operator()<RegistryTriggerLastLeave>();
  f.template operator()<RegistryTriggerBindAll>();
  f.template operator()<RegistryEnd>();
  f.template operator()<RegistryEndLeave>();
  f.template operator()<RegistryEndEncode>();
  f.template operator()<RegistryJoinOrdered>();
  f.template operator()<RegistryTwoOrdered>();
  f.template operator()<RegistryTriggerOrder>();
  f.template operator()<RegistryTriggerRetain>();
  f.template operator()<TwoTriggersLeave>();
  f.template operator()<TwoTriggersReplace>();
  f.template operator()<TriggerTwoWriters>();
  f.template operator()<TwoTriggersOneHint>();
  f.template operator()<TwoLookupsRebuild>();
  f.template operator()<LookupsEraseRebuild>();
  f.template operator()<TwoPushSleep>();
  f.template operator()<TwoReadersInNewBlock>();
  f.template operator()<RegistryJoinTwoOrdered>();
  f.template operator()<RegistryTriggerSubscribeLeave>();
  f.template operator()<RegistryTriggerOrderBind>();
}

}  // namespace fanfare::explore
