/// \file
/// The connections of one channel of a loop.
#pragma once

#include <fanfare/detail/config.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <new>

FANFARE_NAMESPACE_BEGIN
namespace transport {

/// Pointers to connections, in the order in which they came; null where one has left. Many channels have one, which needs
/// no memory of its own.
template <class Connection>
class MemberArray {
 public:
  MemberArray() = default;
  MemberArray(const MemberArray&) = delete;
  MemberArray& operator=(const MemberArray&) = delete;
  ~MemberArray() { reset(); }

  /// Those who have left included.
  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  /// How many of them have left.
  [[nodiscard]] std::size_t holes() const noexcept {
    return has_array_ ? header().holes : size_ - (one_ != nullptr ? 1U : 0U);
  }
  /// How many places there are without growing.
  [[nodiscard]] std::size_t capacity() const noexcept { return has_array_ ? header().capacity : 1; }
  /// The places as a range; a hole is null.
  [[nodiscard]] Connection* const* begin() const noexcept { return has_array_ ? many_ : &one_; }
  /// Behind the last of them.
  [[nodiscard]] Connection* const* end() const noexcept { return begin() + size_; }
  /// Who has a place; null: a hole. \pre it is below `size()`.
  [[nodiscard]] Connection* operator[](std::size_t position) const noexcept { return begin()[position]; }

  /// \throws `std::bad_alloc`; nothing is changed then.
  void push_back(Connection* connection) {
    if (size_ == capacity()) grow();
    (has_array_ ? many_ : &one_)[size_++] = connection;
  }
  /// Takes the last one away. \pre it has not left.
  void pop_back() noexcept {
    --size_;
    if (!has_array_) one_ = nullptr;
  }
  /// Leaves a hole. \pre there is none yet.
  void leave(std::size_t position) noexcept {
    (has_array_ ? many_ : &one_)[position] = nullptr;
    if (has_array_) ++header().holes;
  }
  /// Closes the holes, and calls `f(connection, position)` for each that is there.
  template <class F>
  void compact(F f) noexcept {
    Connection** const all = has_array_ ? many_ : &one_;
    std::uint32_t to = 0;
    for (std::uint32_t from = 0; from < size_; ++from) {
      Connection* const connection = all[from];
      if (connection == nullptr) continue;
      all[to] = connection;
      f(*connection, to++);
    }
    size_ = to & most;
    if (has_array_) header().holes = 0;
  }
  /// Gives all memory back; nobody is in it then.
  void reset() noexcept {
    if (has_array_) ::operator delete(static_cast<void*>(&header()));
    one_ = nullptr;
    size_ = 0;
    has_array_ = false;
  }

 private:
  /// In front of an array.
  struct alignas(Connection*) Header {
    std::uint32_t capacity;
    std::uint32_t holes;
  };
  static constexpr std::uint32_t most = 0x7fffffffU;

  /// \pre there is an array.
  [[nodiscard]] Header& header() const noexcept { return reinterpret_cast<Header*>(many_)[-1]; }

  void grow() {
    const Header next{has_array_ ? 2 * header().capacity : 4, static_cast<std::uint32_t>(holes())};
    void* const memory = ::operator new(sizeof(Header) + next.capacity * sizeof(Connection*));
    auto* const more = reinterpret_cast<Connection**>(::new (memory) Header{next} + 1);
    std::copy(begin(), end(), more);
    const std::uint32_t size = size_;
    reset();
    many_ = more;
    size_ = size & most;
    has_array_ = true;
  }

  union {
    Connection* one_ = nullptr;
    Connection** many_;
  };
  std::uint32_t size_ : 31 = 0;
  bool has_array_ : 1 = false;
};

}  // namespace transport
FANFARE_NAMESPACE_END
