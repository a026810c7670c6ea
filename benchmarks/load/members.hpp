// Client events: members of the channels send them, and everybody else in the channel gets them.
#pragma once

#include "client.hpp"
#include "measure.hpp"
#include "options.hpp"
#include "payload.hpp"
#include "plan.hpp"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace fanfare::load {

/// The triggers' side of the load where clients send them. There are no answers.
class Members {
 public:
  Members(const Options& options, const Plan& plan, Clients& clients, Ledger& ledger)
      : plan_(plan), clients_(clients), ledger_(ledger), payload_(options.bytes) {}

  /// Triggers so many events. Those of one member leave together.
  ///
  /// \param due  when they were to be sent, if not now.
  /// \throws     `Failure`.
  void trigger(std::size_t count, std::optional<std::uint64_t> due) {
    for (std::size_t i = 0; i < count; ++i) {
      const std::uint64_t trigger = ledger_.issue();
      const Plan::Target target = plan_.target(trigger);
      message_ = R"({"event":"client-load","channel":")" + plan_.name(target.channel) + R"(","data":)";
      payload_.append_to(message_, trigger);
      message_ += '}';
      ledger_.sent(trigger, due.value_or(now()));
      const std::size_t member = plan_.member(target.channel, target.sender);
      clients_.queue(member, message_);
      if (touched_.empty() || touched_.back() != member) touched_.push_back(member);
    }
    for (const std::size_t member : touched_) clients_.flush(member);
    touched_.clear();
  }

 private:
  const Plan& plan_;
  Clients& clients_;
  Ledger& ledger_;
  const Payload payload_;
  std::string message_;
  std::vector<std::size_t> touched_;
};

}  // namespace fanfare::load
