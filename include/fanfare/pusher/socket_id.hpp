/// \file
/// The name of a connection in the Pusher protocol.
#pragma once

#include <fanfare/detail/config.hpp>

#include <array>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

FANFARE_NAMESPACE_BEGIN
namespace pusher {

/// Two numbers, place and secret, written with a dot between them: every client and SDK expects that form.
///
/// `place` says where the connection is found again; `secret` is random, so that a connection cannot be guessed and an
/// id is never taken for one of an earlier connection at the same place.
struct SocketId {
  std::uint64_t place = 0;
  std::uint64_t secret = 0;

  /// The most characters that an id has.
  static constexpr std::size_t longest = 41;

  /// An id as text.
  class Text {
   public:
    /// Writes it.
    explicit Text(const SocketId& id) noexcept {
      char* const end = characters_.data() + characters_.size();
      char* at = std::to_chars(characters_.data(), end, id.place).ptr;
      *at++ = '.';
      at = std::to_chars(at, end, id.secret).ptr;
      size_ = static_cast<std::size_t>(at - characters_.data());
    }
    /// Ends with this object.
    [[nodiscard]] std::string_view view() const noexcept { return {characters_.data(), size_}; }

   private:
    std::array<char, longest> characters_;
    std::size_t size_;
  };

  /// How clients and backends write it.
  [[nodiscard]] Text text() const noexcept { return Text{*this}; }

  /// Reads an id back.
  /// \returns nothing unless the text is exactly what `text` writes for some id.
  [[nodiscard]] static std::optional<SocketId> parse(std::string_view text) noexcept {
    SocketId id;
    const char* const end = text.data() + text.size();
    const auto place = std::from_chars(text.data(), end, id.place);
    if (place.ec != std::errc{} || place.ptr == end || *place.ptr != '.') return std::nullopt;
    const auto secret = std::from_chars(place.ptr + 1, end, id.secret);
    if (secret.ec != std::errc{} || secret.ptr != end || id.text().view() != text) return std::nullopt;
    return id;
  }

  /// Whether a text has the form of a socket id at all, of this server or of another.
  [[nodiscard]] static constexpr bool well_formed(std::string_view text) noexcept {
    const std::size_t dot = text.find('.');
    if (dot == std::string_view::npos || dot == 0 || dot + 1 == text.size() || text.size() > longest) return false;
    for (std::size_t i = 0; i < text.size(); ++i) {
      if (i != dot && (text[i] < '0' || text[i] > '9')) return false;
    }
    return true;
  }

  friend bool operator==(const SocketId&, const SocketId&) = default;
};

}  // namespace pusher
FANFARE_NAMESPACE_END
