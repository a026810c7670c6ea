// Messages of ordered channels, as a registry makes them.
#pragma once

#include "support/memory.hpp"
#include <fanfare/core/atomics.hpp>
#include <fanfare/core/errc.hpp>
#include <fanfare/core/memory.hpp>
#include <fanfare/core/message.hpp>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>

namespace fanfare::test {

/// A frame of one byte for each byte of the data.
class DataEncoder final : public Encoder {
 public:
  [[nodiscard]] std::size_t bound(const MessageParts& event) const noexcept override { return event.data.size(); }
  [[nodiscard]] errc encode(const MessageParts& event, std::span<std::byte> out,
                            std::size_t& written) const noexcept override {
    written = event.data.size();
    if (written != 0) std::memcpy(out.data(), event.data.data(), written);
    return errc::ok;
  }
};

/// Makes messages that have ids; none may outlive its log.
class Messages {
 public:
  explicit Messages(MemoryLog& log) noexcept : log_(log) {}

  [[nodiscard]] MessagePtr operator()(EventId id, std::string_view name = "e", std::string_view data = {},
                                      bool frame = false) const {
    const DataEncoder encoder;
    errc error = errc::ok;
    auto* const block = detail::MessageBlock<PlainAtomics, CountingMemory>::make(
        {"c", name, data, nullptr}, frame, frame ? &encoder : nullptr, CountingMemory{log_}, error);
    block->set_id(id);
    return MessagePtr::adopt(block);
  }
  [[nodiscard]] MessagePtr operator()(std::uint64_t number, std::string_view name = "e",
                                      std::string_view data = {}) const {
    return (*this)(EventId{7, number}, name, data);
  }

 private:
  MemoryLog& log_;
};

}  // namespace fanfare::test
